"""How a call goes on or fails, over scripted user agents: each failure names step and SIP code."""

import time

import pytest

from voip_stack.call import dialogue
from voip_stack.call.dialogue import Dialogue
from voip_stack.call.failure import CallError
from voip_stack.call.remote import Event, Remote
from voip_stack.call.useragent import Settings


class Scripted(Remote):
    """User agents that answer commands from a table, and tell the events that follow them."""

    def __init__(self, script):
        super().__init__(["true"])
        self.script = script
        self.given = []
        self.clock = 0.0

    def command(self, ua, command, params=None, quiet=False):
        self.given.append((ua, command, params))
        answer, events = self.script.get((ua, command), ("", []))
        for name, kind, text, *data in events:
            self.clock += 0.04
            values = {"param": text, **(data[0] if data else {})}
            self.events.append(Event(name, kind, self.clock, values))
        return answer


OFFER = ("a", "CALL_LOCAL_SDP", "offer")
RINGING = [OFFER, ("b", "CALL_INCOMING", "", {"id": "B"}), ("a", "CALL_RINGING", "")]
DIAL = ("\rcall id: A\n", RINGING)
ACCEPT = ("", [("a", "CALL_ESTABLISHED", ""), ("b", "CALL_ESTABLISHED", "")])


def settings(number):
    return Settings(number, "voip.test", "password", "sip.voip.test", 5071, "198.18.64.100", 600,
                    "PCMA", (20000, 20198))  # fmt: skip


def make(script, parties=("a", "b")):
    remote = Scripted(script)
    return remote, Dialogue(
        remote, {ua: settings({"a": "1001", "b": "1002"}[ua]) for ua in parties}
    )


@pytest.fixture(autouse=True)
def short_deadlines(monkeypatch):
    for name in vars(dialogue):
        if name.endswith("_DEADLINE_S"):
            monkeypatch.setattr(dialogue, name, 0.05)


def test_a_call_that_is_answered():
    _, talk = make({("a", "dial"): DIAL, ("b", "accept"): ACCEPT})
    setup = talk.call("sip:1002@voip.test")
    assert setup == dialogue.Setup(call_id_a="A", call_id_b="B", ring_ms=80, setup_ms=120)


def test_an_echo_is_answered_by_the_platform():
    script = {("a", "dial"): ("call id: A", [OFFER, ("a", "CALL_ESTABLISHED", "")])}
    _, talk = make(script, ("a",))
    assert talk.call("sip:*43@voip.test") == dialogue.Setup("A", None, None, 40)


REFUSED = {
    "unknown": (
        {("a", "dial"): ("call id: A", [OFFER, ("a", "CALL_CLOSED", "404 Not Found")])},
        ("call", 404),
    ),
    "no PBX": (
        {("a", "dial"): ("call id: A", [OFFER, ("a", "CALL_CLOSED", "503 Service Unavailable")])},
        ("call", 503),
    ),
    "busy": (
        {
            ("a", "dial"): DIAL,
            ("b", "hangup"): ("", [
                ("b", "CALL_CLOSED", "Rejected"), ("a", "CALL_CLOSED", "486 Busy Here"),
            ]),
        },
        ("answer", 486),
    ),
    "never rings there": ({("a", "dial"): ("call id: A", [OFFER])}, ("call", None)),
    "no ringing here": ({("a", "dial"): ("call id: A", RINGING[:2])}, ("ring", None)),
    "no answer": ({("a", "dial"): DIAL}, ("answer", None)),
    "the caller's process ends": (
        {("a", "dial"): ("call id: A", [OFFER, ("a", "ENDED", "139")])}, ("call", None),
    ),
    "not dialled": ({("a", "dial"): ("could not", [OFFER])}, ("call", None)),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_call_that_fails(name):
    script, (step, code) = REFUSED[name]
    _, talk = make(script)
    with pytest.raises(CallError) as caught:
        talk.call("sip:1002@voip.test", is_busy=name == "busy")
    assert (caught.value.step, caught.value.sip_code) == (step, code), caught.value


@pytest.mark.parametrize(
    ("event", "code", "reason"),
    [
        (("a", "REGISTER_FAIL", "401 Unauthorized"), 401, "401 Unauthorized"),
        (("a", "REGISTER_FAIL", "403 Forbidden"), 403, "403 Forbidden"),
        (("a", "REGISTER_FAIL", "Protocol error [71]"), None, "certificate"),
        (("a", "ENDED", "1"), None, "user agent ended"),
        (("b", "REGISTER_OK", "200 OK"), None, "no answer within"),
    ],
)
def test_a_registration_that_fails(event, code, reason):
    _, talk = make({("a", "uanew"): ("", [event])})
    with pytest.raises(CallError, match=reason) as caught:
        talk.register("a")
    assert caught.value.sip_code == code


def test_no_audio_names_who_hears_nothing():
    _, talk = make({("a", "ausrc"): ("", [("a", "CALL_RTPESTAB", "audio")])})
    with pytest.raises(CallError, match="no audio packet reached 1002"):
        talk.start_tones()


def test_a_call_that_ends_while_measured():
    remote, talk = make({})
    remote.events.append(Event("a", "CALL_CLOSED", 1.0, {"param": "Connection reset by peer"}))
    started = time.monotonic()
    with pytest.raises(CallError, match="ended early: Connection reset by peer"):
        talk.hold(60)
    assert time.monotonic() - started < 30


def test_tones_start_after_the_answer_and_stop_before_hang_up():
    tone = [("a", "CALL_RTPESTAB", "audio"), ("b", "CALL_RTPESTAB", "audio")]
    remote, talk = make({
        ("a", "dial"): DIAL, ("b", "accept"): ACCEPT, ("a", "ausrc"): ("", tone),
        ("a", "hangup"): ("", [("a", "CALL_CLOSED", ""), ("b", "CALL_CLOSED", "")]),
    })  # fmt: skip
    talk.call("sip:1002@voip.test")
    talk.start_tones()
    talk.stop_tones()
    talk.hang_up()
    sources = [params for _, command, params in remote.given if command == "ausrc"]
    assert sources == ["ausine,600", "ausine,600", "aubridge,quiet", "aubridge,quiet"]
    assert remote.given[-1] == ("a", "hangup", None)


def test_the_tone_lasted_as_long_as_its_packets():
    told = "TX: packets=203, octets=32480\n member\n  rcvd=201\n"
    _, talk = make({("a", "audio_debug"): (told, [])}, ("a",))
    assert talk.streams()["a"].received == 201
    assert talk.tone_s("a") == pytest.approx(4.06)


def test_suite_and_jitter_come_from_the_last_event():
    remote, talk = make({})
    assert talk.suite("a") is None
    assert talk.jitter_ms("a") is None
    for text in ("0,audio,AES_CM_128_HMAC_SHA1_32", "0,audio,AES_CM_128_HMAC_SHA1_80"):
        remote.events.append(Event("a", "CALL_MENC", 1.0, {"param": text}))
    for sent, jitter in ((0, 0), (50, 1250)):
        stats = {"rx": {"sent": sent, "lost": 0, "jit": jitter}}
        remote.events.append(Event("a", "CALL_RTCP", 1.0, {"rtcp_stats": stats}))
    assert talk.suite("a") == "AES_CM_128_HMAC_SHA1_80"
    assert talk.jitter_ms("a") == 1.25
