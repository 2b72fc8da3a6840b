"""Digits dialled in a call that goes on, with real audio. At each proxy.

What is said meanwhile is in tests/lab/scenarios/established.yaml. Hold is a browser's, in
test_webrtc.py: baresip 1.1 may crash when it holds.
"""

from __future__ import annotations

import pytest

from tests.lab.phones import call, hears, phones
from voip_stack.call.dialogue import CALLEE, CALLER

DIGITS = "159#"


@pytest.fixture
def dialogue(proxy):
    """Two phones of this proxy in a call, and their tones."""
    with phones(proxy=proxy.name) as found:
        call(found)
        found.start_tones()
        yield found


@pytest.mark.parametrize("sender", [CALLER, CALLEE], ids=["by the caller", "by the callee"])
def test_digits_arrive_as_they_were_dialled(dialogue, sender, eventually):
    """RFC 4733 from one phone to the other: two relays' streams and the PBX in between."""
    other = CALLEE if sender == CALLER else CALLER
    for digit in DIGITS:
        dialogue.remote.command(sender, "sndcode", digit)
        dialogue.hold(0.4)

    def received():
        seen = dialogue.remote.seen(other, "CALL_DTMF_START")
        return "".join(event.text for event in seen)

    eventually(lambda: received() == DIGITS, 4)
    # The sound goes on after them.
    assert hears(dialogue, CALLER)
    assert hears(dialogue, CALLEE)
    dialogue.stop_tones()
    dialogue.hang_up()
