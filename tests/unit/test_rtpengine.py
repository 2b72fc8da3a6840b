"""RTPEngine's control protocol: the codec, what `query` tells, the module against a real socket."""

import json
import socket
import sys
import threading
from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

CHECKOUT = Path(__file__).parents[2]
sys.path[:0] = [str(CHECKOUT / name) for name in ("_utils", "_modules")]

import rtpengine  # noqa: E402
import voip_bencode  # noqa: E402
import voip_ng  # noqa: E402
import voip_options  # noqa: E402

# What rtpengine 10.5.3.5-1+deb12u1 answered to `query` of an SDES call between its two interfaces.
QUERY = json.loads(Path(__file__).with_name("rtpengine_query.json").read_text())


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (0, b"i0e"),
        (-7, b"i-7e"),
        ("", b"0:"),
        ("grüß", b"6:gr\xc3\xbc\xc3\x9f"),
        ([1, "a"], b"li1e1:ae"),
        ({"b": 1, "a": ["x"]}, b"d1:al1:xe1:bi1ee"),
        ({}, b"de"),
    ],
)
def test_bencode_both_ways(value, data):
    assert voip_bencode.encode(value) == data
    assert voip_bencode.decode(data) == value


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"i7",
        b"ie",
        b"5:abc",
        b"l1:a",
        b"d1:ae",
        b"di1e1:ae",
        b"i1ei2e",
        b"x",
        b"99999999999999:a",
        b"l" * 100 + b"e" * 100,
    ],
)
def test_bencode_refuses(data):
    with pytest.raises(voip_bencode.Malformed):
        voip_bencode.decode(data)


@pytest.mark.parametrize("value", [True, 1.5, None, b"bytes"])
def test_bencode_has_no_other_types(value):
    with pytest.raises(TypeError):
        voip_bencode.encode(value)


def test_request_names_the_call_with_hyphens():
    assert voip_ng.request("c1", "query", call_id="x") == b"c1 d7:call-id1:x7:command5:querye"


def test_reply_of_another_request_is_none():
    assert voip_ng.reply(b"c2 d6:result4:ponge", "c1") is None


@pytest.mark.parametrize(
    ("reason", "error"), [("Unknown call-id", voip_ng.NoSuchCall), ("Busy", voip_ng.Refused)]
)
def test_reply_error(reason, error):
    data = b"c1 " + voip_bencode.encode({"result": "error", "error-reason": reason})
    with pytest.raises(error, match=reason):
        voip_ng.reply(data, "c1")


def test_legs_tell_suite_and_counters_of_rtp_only():
    legs = voip_ng.legs(QUERY, {"192.168.64.20": "internal", "198.18.64.20": "external"})
    assert [leg["interface"] for leg in legs] == ["external", "internal"]
    assert legs[0] == {
        "tag": "f1",
        "media": "audio",
        "protocol": "RTP/SAVP",
        "interface": "external",
        "local": "198.18.64.20:30010",
        "remote": "198.18.64.100:45000",
        "srtp": "AES_CM_128_HMAC_SHA1_80",
        "packets": 212,
        "bytes": 36464,
        "errors": 0,
        "strict_source": True,
    }


def test_leg_in_the_clear_has_no_suite():
    query = json.loads(json.dumps(QUERY))
    del query["tags"]["f1"]["medias"][0]["streams"][0]["crypto suite"]
    assert voip_ng.legs(query)[0]["srtp"] is None


def test_a_branch_that_nobody_answered_is_no_leg():
    query = json.loads(json.dumps(QUERY))
    query["tags"]["<untagged 1>"] = json.loads(json.dumps(QUERY["tags"]["t1"]))
    query["tags"]["<untagged 1>"]["medias"][0]["streams"][0]["endpoint"] = {}
    assert [leg["tag"] for leg in voip_ng.legs(query)] == ["f1", "t1"]


def test_refused_suites_leave_the_allowed_one():
    flags = voip_ng.refused_suites(["AES_CM_128_HMAC_SHA1_80"])
    assert len(flags) == len(voip_ng.SUITES) - 1
    assert "SDES-no-NULL_HMAC_SHA1_80" in flags
    assert "SDES-no-AES_CM_128_HMAC_SHA1_80" not in flags
    with pytest.raises(ValueError, match="ROT13"):
        voip_ng.refused_suites(["ROT13"])


def test_long_options_of_help():
    text = "  -t, --table=INT  x\n  --log-srtp-keys  x\n  -h, --help  x\nno --option here\n"
    assert voip_options.long_options(text) == {"table", "log-srtp-keys", "help"}


@pytest.mark.parametrize(
    "text", ["a = 1\n", "[rtpengine]\na = 1\na = 2\n", "[rtpengine]\nwhat is this\n", "[a]\n[b]\n"]
)
def test_ini_refuses(text):
    with pytest.raises(CommandExecutionError):
        voip_options.ini_options(text)


@pytest.fixture
def daemon():
    """A UDP socket that loses the first datagram and answers the second: [port, requests]."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    server.settimeout(5)
    seen = []

    def serve():
        server.recvfrom(65535)
        data, peer = server.recvfrom(65535)
        seen.append(data)
        cookie = data.split(b" ")[0]
        server.sendto(b"stale d6:result4:ponge", peer)
        server.sendto(cookie + b" d6:result4:ponge", peer)

    thread = threading.Thread(target=serve)
    thread.start()
    yield server.getsockname()[1], seen
    thread.join()
    server.close()


def pillar(port, roles):
    hosts = {
        "media-1": {"roles": ["media"], "internal": "127.0.0.1", "external": "198.18.64.20"},
        "pbx-1": {"roles": ["pbx"], "internal": "192.168.64.30"},
    }
    own = {"name": "media-1", "roles": roles, "addresses": {"internal": "127.0.0.1"}}
    relays = [{"name": "media-1", "internal": "127.0.0.1", "floats": True, "drained": False}]
    ports = {"rtpengine": {"ng": port}}
    return {"voip": {"hosts": hosts, "self": own, "relays": relays, "ports": ports}}


@pytest.mark.parametrize("roles", [["media"], ["sip"]])
def test_ping_survives_a_lost_datagram(daemon, monkeypatch, roles):
    port, seen = daemon
    monkeypatch.setattr(rtpengine, "__pillar__", pillar(port, roles), raising=False)
    monkeypatch.setattr(rtpengine, "_TIMEOUT_S", 0.4)
    assert list(rtpengine.ping()) == ["127.0.0.1"]
    assert seen[0].endswith(b" d7:command4:pinge")


def test_silence_is_an_error_that_names_the_address(monkeypatch):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        monkeypatch.setattr(rtpengine, "__pillar__", pillar(port, ["sip"]), raising=False)
        monkeypatch.setattr(rtpengine, "_TIMEOUT_S", 0.1)
        with pytest.raises(CommandExecutionError, match=f"127.0.0.1:{port} does not answer"):
            rtpengine.ping()


def test_only_media_hosts_are_asked(monkeypatch):
    monkeypatch.setattr(rtpengine, "__pillar__", pillar(1, ["sip"]), raising=False)
    with pytest.raises(SaltInvocationError, match="pbx-1 is no media host"):
        rtpengine.ping("pbx-1")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ((False, "shared kernel", ""), ("userspace", "shared kernel", "")),
        ((False, "not loaded", "because"), ("userspace", "not loaded", "because")),
        ((True, "", ""), ("kernel", "xt_RTPENGINE has the table", "")),
    ],
)
def test_forwarding(monkeypatch, status, expected):
    found = dict(zip(("is_forwarding", "reason", "problem"), status, strict=True))
    functions = {"rtpengine_module.status": lambda: found}
    monkeypatch.setattr(rtpengine, "__salt__", functions, raising=False)
    assert tuple(rtpengine.forwarding().values()) == expected


OPTIONS = {"port-min", "port-max", "listen-ng"}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[rtpengine]\nport-min = 3\nport-max = 9\nlisten-gn = 1\n", "unknown option listen-gn"),
        ("[rtpengine]\nport-min = 9\nport-max = 3\n", "port-min is not below port-max"),
    ],
)
def test_config_refused_before_the_daemon_is_tried(monkeypatch, tmp_path, text, error):
    (tmp_path / "rtpengine.conf").write_text(text)
    monkeypatch.setattr(rtpengine, "known_options", lambda: OPTIONS)
    monkeypatch.setattr(rtpengine, "__salt__", {}, raising=False)
    with pytest.raises(CommandExecutionError, match=error):
        rtpengine.check_config(str(tmp_path))
