"""The hops of a call from what each host told; what is missing or contradictory is an error."""

import dataclasses
import json

import pytest

from voip_stack import paths
from voip_stack.call.evidence import Channel, Connection, MediaStream, channels, streams
from voip_stack.call.failure import CallError, UnsettledError
from voip_stack.call.legs import Party, build_legs, channel_of
from voip_stack.call.plan import make_plan
from voip_stack.call.report import CallReport, as_json
from voip_stack.call.tones import ToneReport
from voip_stack.call.useragent import StreamState
from voip_stack.pillar import load
from voip_stack.problem import Problem

SUITE = "AES_CM_128_HMAC_SHA1_80"
CIPHER = "TLS_AES_256_GCM_SHA384"


@pytest.fixture(scope="module")
def pillar():
    return load(paths.pillar_dir())


@pytest.fixture
def facts(pillar):
    """Everything that a good call from 1001 to 1002 leaves behind."""
    proxy, pbx = "192.168.64.10", "192.168.64.30"
    state_a, state_b = (StreamState("PCMA", "PCMA", 200, 200, True, n) for n in (20000, 20200))
    return {
        "plan": make_plan(pillar, "1001", "1002"),
        "caller": Party("1001", "198.18.64.100:41000", SUITE, state_a, 0.4),
        "callee": Party("1002", "198.18.64.100:42000", SUITE, state_b, None),
        "connections": [
            Connection("198.18.64.10:5071", "198.18.64.100:41000", "TLSv1.3", CIPHER),
            Connection("198.18.64.10:5071", "198.18.64.100:42000", "TLSv1.3", CIPHER),
            Connection(f"{proxy}:40000", f"{pbx}:5061", "TLSv1.3", CIPHER),
            Connection(f"{proxy}:5071", f"{pbx}:50000", "TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384"),
        ],
        "streams_a": [
            MediaStream("media-1", "198.18.64.100:20000", "external", SUITE, 200),
            MediaStream("media-1", f"{pbx}:10000", "internal", SUITE, 200),
        ],
        "streams_b": [
            MediaStream("media-1", f"{pbx}:10002", "internal", SUITE, 200),
            MediaStream("media-1", "198.18.64.100:20200", "external", SUITE, 200),
        ],
        "channel_a": Channel("PJSIP/a", "A", "Dial", "alaw", True, 200, 200, 0.1),
        "channel_b": Channel("PJSIP/b", "B", "AppDial", "alaw", True, 200, 200, None),
    }


def test_a_good_call_has_four_legs(facts):
    legs = [leg.as_dict() for leg in build_legs(**facts)]
    assert [leg["leg"] for leg in legs] == [
        "1001 to sip-1", "sip-1 to pbx-1", "pbx-1 to sip-1", "sip-1 to 1002",
    ]  # fmt: skip
    for leg in legs:
        assert leg["tls"].startswith("TLSv1.")
        assert leg["cipher"]
        assert leg["srtp"] == SUITE
        assert leg["codec"] == "PCMA"
        assert leg["packets"] == 400
        assert leg["lost"] == 0
    assert legs[2]["tls"] == "TLSv1.2"
    assert legs[0]["backward"]["jitter_ms"] == 0.4


def test_an_echo_has_two(facts):
    facts |= {"callee": None, "streams_b": None, "channel_b": None}
    assert len(build_legs(**facts)) == 2


def test_rtcp_beside_rtp_is_no_packet_of_audio(facts):
    """A browser's RTCP comes by the port of its RTP, and RTPEngine counts both."""
    facts["caller"] = dataclasses.replace(facts["caller"], is_muxed=True)
    facts["streams_a"][0] = dataclasses.replace(facts["streams_a"][0], packets=203)
    legs = build_legs(**facts)
    assert [(leg.forward.received, leg.forward.lost) for leg in legs[:2]] == [(200, 0), (200, 0)]
    facts["channel_a"] = dataclasses.replace(facts["channel_a"], received=197)
    assert [leg.forward.lost for leg in build_legs(**facts)[:2]] == [3, 0]
    facts["streams_a"][0] = dataclasses.replace(facts["streams_a"][0], packets=196)
    with pytest.raises(UnsettledError, match="RTPEngine 196"):
        build_legs(**facts)


def test_media_by_ice_may_be_of_the_other_family(facts):
    state = dataclasses.replace(facts["caller"].state, address="fd64::100")
    facts["caller"] = dataclasses.replace(facts["caller"], state=state)
    stream = facts["streams_a"][0]
    facts["streams_a"][0] = dataclasses.replace(stream, remote="[fd64::100]:20000")
    assert len(build_legs(**facts)) == 4


def test_two_ends_that_have_not_come_to_the_same_pair_are_asked_again(facts):
    """Only where media need not be where signalling is."""
    facts["streams_a"][0] = dataclasses.replace(facts["streams_a"][0], remote="198.18.64.77:1")
    with pytest.raises(CallError, match="a media stream with") as found:
        build_legs(**facts)
    assert not isinstance(found.value, UnsettledError)
    state = dataclasses.replace(facts["caller"].state, address="fd64::100")
    facts["caller"] = dataclasses.replace(facts["caller"], state=state)
    with pytest.raises(UnsettledError, match="a media stream with"):
        build_legs(**facts)


def test_loss_is_placed_on_its_hop_and_way(facts):
    facts["channel_a"] = dataclasses.replace(facts["channel_a"], received=197)
    legs = build_legs(**facts)
    assert [(leg.forward.lost, leg.backward.lost) for leg in legs] == [
        (0, 0), (3, 0), (0, 0), (0, 0),
    ]  # fmt: skip


def test_branches_that_rang_in_vain_are_left_out(facts):
    facts["streams_b"] += [
        MediaStream("media-1", "None:None", "external", None, 0),
        MediaStream("media-1", "198.18.64.77:9999", "external", SUITE, 0),
    ]
    assert len(build_legs(**facts)) == 4


def _without_connection(remote):
    def change(facts):
        facts["connections"] = [c for c in facts["connections"] if c.remote != remote]

    return change


def _replace(name, **values):
    def change(facts):
        facts[name] = dataclasses.replace(facts[name], **values)

    return change


def _stream(name, interface, **values):
    def change(facts):
        facts[name] = [
            dataclasses.replace(s, **values) if s.interface == interface else s for s in facts[name]
        ]

    return change


def _connection(index, **values):
    def change(facts):
        facts["connections"][index] = dataclasses.replace(facts["connections"][index], **values)

    return change


BROKEN = {
    "the caller's TLS is unknown": (_without_connection("198.18.64.100:41000"), "no TLS conn"),
    "the PBX is not connected": (_without_connection("192.168.64.30:5061"), "no TLS conn"),
    "the PBX never connected back": (_without_connection("192.168.64.30:50000"), "no TLS conn"),
    "old TLS": (_connection(0, tls="SSLv3"), "not TLS"),
    "no cipher": (_connection(3, cipher=""), "not TLS"),
    "the caller's media is clear": (_replace("caller", suite=None), "1001: the media is not encr"),
    "RTPEngine sees clear RTP outside": (
        _stream("streams_b", "external", srtp=None), "1002: the media is not encrypted",
    ),
    "RTPEngine sees clear RTP inside": (
        _stream("streams_a", "internal", srtp=None), "with the PBX is not encrypted",
    ),
    "the PBX sees clear RTP": (_replace("channel_b", is_secure=False), "is not encrypted"),
    "the suites differ": (_replace("callee", suite="AEAD_AES_128_GCM"), "1002 says AEAD_AES_128"),
    "more arrived than was sent": (_stream("streams_b", "internal", packets=201), "but only 200"),
    "no codec": (_replace("channel_a", codec=""), "told no codec"),
    "one side of the media is missing": (
        lambda facts: facts.update(streams_a=facts["streams_a"][:1]), "1001: a media stream with",
    ),
    "no counters": (
        _replace("caller", state=StreamState("PCMA", "PCMA", None, 200, True, 20000)),
        "told no packet counters",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_missing_fails_the_call(facts, name):
    change, message = BROKEN[name]
    change(facts)
    with pytest.raises(CallError, match=message):
        build_legs(**facts)


def test_a_call_id_that_the_pbx_does_not_know(facts):
    assert channel_of([facts["channel_a"]], "A", "1001").name == "PJSIP/a"
    with pytest.raises(CallError, match="no channel for 1001"):
        channel_of([facts["channel_a"]], "other", "1001")


def test_a_host_that_does_not_answer_is_named(facts):
    def ask(host, function, *_):
        raise Problem(f"{host} did not answer {function} within 5 s")

    with pytest.raises(CallError, match=r"media-1: rtpengine\.legs: media-1 did not answer"):
        streams(ask, facts["plan"], "A")


def test_a_lost_answer_is_asked_for_again(facts):
    asked = []

    def ask(host, function, *_):
        asked.append(host)
        if len(asked) == 1:
            raise Problem(f"{host} did not answer {function} within 5 s")
        return []

    assert streams(ask, facts["plan"], "A") == []
    assert asked == ["media-1", "media-1"]


def channel_row(**changes):
    row = {
        "name": "PJSIP/a", "call_id": "A", "application": "Dial", "codec": "alaw",
        "secure_signaling": True, "secure_media": True,
        "rx": {"packets": 200, "lost": 0, "jitter_ms": 0.2}, "tx": {"packets": 201},
    }  # fmt: skip
    return row | changes


def test_channels_of_the_call_only(facts):
    other = channel_row(call_id="other", rx=None)
    found = channels(lambda *_: [other, channel_row()], facts["plan"], ["A"])
    assert found == [Channel("PJSIP/a", "A", "Dial", "alaw", True, 200, 201, 0.2)]


def test_a_channel_without_counters_is_refused(facts):
    row = channel_row(rx={"packets": None})
    with pytest.raises(CallError, match="PJSIP/a"):
        channels(lambda *_: [row], facts["plan"], ["A"])


def heard(ok=True):
    problem = None if ok else "silence"
    return ToneReport(ok, 600, -10.0, 0.99, 4.0, 4.0, 0, 1000, 0.0, problem)


def report(facts, **changes):
    values = {
        "caller": "1001", "callee": "1002", "codec": "PCMA", "ring_ms": 60, "setup_ms": 120,
        "answered_by": "1002", "a_to_b": heard(), "b_to_a": heard(), "legs": build_legs(**facts),
    }  # fmt: skip
    return CallReport(**(values | changes))


def test_json_of_a_verified_call(facts):
    data = json.loads(json.dumps(as_json([report(facts)])))
    assert data["ok"] is True
    assert data["failed"] is None
    assert data["setup_ms"] == 120
    assert data["answered_by"] == "1002"
    assert data["audio"]["a_to_b"]["ok"] is data["audio"]["b_to_a"]["ok"] is True
    for leg in data["legs"]:
        assert leg.keys() >= {"tls", "cipher", "srtp", "codec", "packets", "lost"}


@pytest.mark.parametrize(
    "changes",
    [
        {"a_to_b": None},
        {"b_to_a": heard(ok=False)},
        {"legs": []},
        {"setup_ms": None},
        {"answered_by": None},
        {"failure": CallError("call", "404 Not Found", 404)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_no_call_is_ok_without_its_whole_proof(facts, changes):
    data = as_json([report(facts, **changes)])
    assert data["ok"] is False
    assert data.keys() >= {"setup_ms", "answered_by", "audio", "legs"}


def test_json_of_a_failure_names_step_and_code(facts):
    failure = CallError("register 1001", "401 Unauthorized", 401)
    data = as_json([CallReport("1001", "1002", "PCMA", failure=failure)])
    assert data["failed"] == {
        "step": "register 1001", "reason": "401 Unauthorized", "sip_code": 401,
    }  # fmt: skip
    assert data["audio"] == {"a_to_b": None, "b_to_a": None}
    assert data["legs"] == []


def test_json_of_several_calls(facts):
    data = as_json([report(facts), report(facts, legs=[])])
    assert (data["ok"], data["count"], data["verified"], len(data["calls"])) == (False, 2, 1, 2)


@pytest.mark.parametrize(
    ("caller", "callee", "codec", "message"),
    [
        ("9999", "1002", None, "not a subscriber"),
        ("1001", "1001", None, "cannot call itself"),
        ("1001", "1002", "speex", "codec SPEEX"),
    ],
)
def test_a_call_that_makes_no_sense_is_refused(pillar, caller, callee, codec, message):
    with pytest.raises(Problem, match=message) as caught:
        make_plan(pillar, caller, callee, codec)
    assert caught.value.code == 2


def test_the_plan_comes_from_the_pillar(pillar):
    plan = make_plan(pillar, "1001", "*43", "g722")
    assert plan.is_echo
    assert not plan.is_callee_known
    assert (plan.proxy.external, plan.proxy_port) == ("198.18.64.10", 5071)
    assert (plan.pbx.internal, plan.pbx_port) == ("192.168.64.30", 5061)
    assert plan.codec == "G722"
