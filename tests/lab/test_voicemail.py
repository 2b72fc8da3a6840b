"""A subscriber's box: what is said to who is away is kept, and played to nobody but him.

By each proxy, with real phones: a tone that is spoken, recorded and heard again.
"""

import pytest

from tests.lab.declared import subscribers
from tests.lab.phones import NUMBERS, SDP, phone
from voip_stack.call import tones
from voip_stack.call.dialogue import CALLER
from voip_stack.call.plan import CALLEE_TONE_HZ, CALLER_TONE_HZ

AWAY, BUSY, SLOW, NONE = "1091", "1092", "1093", "1094"
TABLE = f"""\
number,name,voicemail,forward_after_s
{AWAY},Away,{AWAY},
{BUSY},Busy,{BUSY},
{SLOW},Slow,{SLOW},5
{NONE},None,,
"""
HOST, SPOOL = "pbx-1", "/var/spool/asterisk/voicemail/default"
MESSAGE = f"{SPOOL}/{AWAY}/INBOX/msg0000.wav"
OWN = "*97"
# The greeting, and what is left of a message after it.
GREETING_S, SPOKEN_S = 15, 6
WINDOW_S = 2


@pytest.fixture(scope="module", autouse=True)
def declared(salt, on, proxy):
    boxes = [f"{SPOOL}/{box}" for box in (AWAY, BUSY, SLOW)]
    on(HOST, "rm", "-rf", *boxes)
    with subscribers(salt, "voicemail", TABLE):
        yield
    on(HOST, "rm", "-rf", *boxes)


def seconds_of(tone_hz, wav):
    """For how long a recording has a tone, in whole windows."""
    samples, rate = tones.read_wav(wav)
    size = WINDOW_S * rate
    windows = [samples[at : at + size] for at in range(0, len(samples) - size, size)]
    return WINDOW_S * sum(tones.has_tone(window, rate, tone_hz) for window in windows)


@pytest.fixture(scope="module")
def spoken(proxy, provider, declared):
    """A message for who is away, as the PBX has it. The call's legs were encrypted."""
    with phone(NUMBERS[0], proxy.name) as dialogue:
        setup = dialogue.call(f"sip:{AWAY}@{dialogue.parties[CALLER].domain}")
        dialogue.start_tones()
        assert dialogue.suite(CALLER)
        dialogue.hold(GREETING_S + SPOKEN_S)
        dialogue.hang_up()
        assert setup.call_id_a
    return provider.get(HOST, MESSAGE)


def test_what_is_said_to_who_is_away_is_kept(spoken):
    assert seconds_of(CALLER_TONE_HZ, spoken) >= SPOKEN_S - WINDOW_S


def test_nobody_else_on_the_host_reads_it(spoken, on, provider):
    """The application makes what it says of a message 0666: the directories keep that too."""
    listed = on(HOST, "find", SPOOL, "-printf", "%y %m %u %f\\n").splitlines()
    assert {line.split()[1] for line in listed if line.startswith("d ")} == {"700"}
    assert "f 600 asterisk msg0000.wav" in listed
    for suffix in ("wav", "txt"):
        path = MESSAGE.removesuffix("wav") + suffix
        found = provider.run(HOST, ["runuser", "-u", "nobody", "--", "cat", path], check=False)
        assert b"Permission denied" in found.stderr


def test_its_owner_hears_it_again(spoken, proxy):
    """Another tone is his own, so that no echo counts."""
    with phone(AWAY, proxy.name, CALLEE_TONE_HZ) as dialogue:
        dialogue.call(f"sip:{OWN}@{dialogue.parties[CALLER].domain}")
        dialogue.start_tones()
        dialogue.hold(SPOKEN_S * 2)
        dialogue.hang_up()
        heard = dialogue.recording(CALLER)
    assert seconds_of(CALLER_TONE_HZ, heard) >= SPOKEN_S - 2 * WINDOW_S
    assert seconds_of(CALLEE_TONE_HZ, heard) == 0


def test_who_is_busy_and_who_does_not_answer(ask, called, password_of, proxy):
    caller = {"user": NUMBERS[0], "password": password_of(NUMBERS[0]), "body": SDP, "hold_s": 0}
    with called(BUSY) as invite:
        assert ask("call", to=BUSY, **caller)["statuses"][-1] == [200, "OK"]
        assert invite()
    with phone(SLOW, proxy.name, register_s=60):
        assert ask("call", to=SLOW, **caller)["statuses"][-1] == [200, "OK"]


def test_who_has_no_box_is_away_and_hears_nothing(ask, password_of):
    """Nor does he with the platform's own header, which a device may not send."""
    own = {"password": password_of(NONE), "body": SDP, "headers": [f"X-Voip-User: {AWAY}"]}
    assert ask("call", user=NONE, to=OWN, **own)["statuses"][-1][0] == 404
    caller = {"user": NUMBERS[0], "password": password_of(NUMBERS[0]), "body": SDP}
    assert ask("call", to=NONE, **caller)["statuses"][-1] == [480, "Temporarily Unavailable"]


def test_old_messages_are_forgotten(spoken, on, compiled):
    days = compiled(HOST)["asterisk"]["voicemail"]["keep_days"]
    folder = f"{SPOOL}/{AWAY}/Old/"
    on(HOST, "mkdir", "-p", folder)
    for name, age in (("kept", days - 1), ("old", days + 1)):
        on(HOST, "touch", "-d", f"{age} days ago", f"{folder}{name}")
    on(HOST, "systemd-tmpfiles", "--clean", "/etc/tmpfiles.d/voip-voicemail.conf")
    assert "kept" in on(HOST, "ls", folder).split()
    assert "old" not in on(HOST, "ls", folder).split()
    assert on(HOST, "systemctl", "is-active", "systemd-tmpfiles-clean.timer").strip() == "active"
