"""Two proxies beside each other: each finds who is registered at the other, and outlives it."""

from __future__ import annotations

import itertools
import time

import pytest

from tests.lab import scenarios
from tests.lab.phones import call, phones, talk
from tests.lab.proxies import PROXIES
from tests.told import tell
from voip_stack import vault

TOLD = "two proxies: one is killed"
PAIRS = "two proxies: every pair"
# The scenario of tests/lab/scenarios/ringing.yaml that is played by each way.
PLAIN = "answered, and ended by the caller"


@pytest.mark.parametrize("callee_proxy", PROXIES, ids=lambda proxy: f"to {proxy.name}")
def test_whoever_registered_where_is_found(proxy, callee_proxy):
    """The callee rings, and both hear each other."""
    with phones(proxy=proxy.name, callee_proxy=callee_proxy.name) as dialogue:
        call(dialogue)
        talk(dialogue, 1.5)


def test_each_pair_of_proxies_and_transports(ladders):
    """Caller and callee by TLS and by WSS, at either proxy: sixteen calls, answered and ended."""
    (plain,) = (item for item in scenarios.read() if item.name == PLAIN)
    ways = list(itertools.product([item.name for item in PROXIES], ("tls", "wss")))
    failed = []
    for caller, callee in itertools.product(ways, ways):
        devices = {
            name: {"number": number, "proxy": proxy, "transport": transport}
            for (name, number), (proxy, transport) in zip(
                plain.devices.items(), (caller, callee), strict=True
            )
        }
        why = ladders.play(devices, plain.steps(), caller[0])["failed"]
        failed += [(caller, callee, why)] if why else []
    assert failed == []
    said = " to ".join(["a device by TLS or WSS at either proxy"] * 2)
    tell(PAIRS, f"{said}: {len(ways) ** 2} of {len(ways) ** 2} calls")


def test_one_that_is_killed_takes_no_call_of_the_other(proxy, ask, on, eventually):
    """A call that goes on is heard throughout; who registers anew is called again."""
    (other,) = (item for item in PROXIES if item != proxy)
    (password,) = vault.subscriber_passwords(["1003"]).values()

    def registers():
        found = ask("register", user="1003", password=password, timeout_s=2)
        return found.get("statuses", [None])[-1] == [200, "OK"]

    with phones(proxy=other.name) as dialogue:
        call(dialogue)
        on("sip-1", "systemctl", "kill", "--signal=KILL", proxy.name)
        killed = time.monotonic()
        eventually(registers, 60)
        took_s = time.monotonic() - killed
        talk(dialogue, 2)
    with phones(proxy=other.name, callee_proxy=proxy.name) as dialogue:
        call(dialogue)
        talk(dialogue, 1.5)
    said = (
        "the call by {} was heard both ways; a device registers and is called again after {:.1f} s"
    )
    tell(TOLD, f"{proxy.name}: " + said.format(other.name, took_s))
