"""Devices by IPv6: registered, called and calling, with those of IPv4 and among themselves.

A report is verified only when the user agent's connection leads to the proxy's IPv6 address, its
media stream to the relay's, and each side's tone was measured at the other. That calls by IPv6 go
on at another host: test_media_tier.py.
"""

from __future__ import annotations

import contextlib
import json
import subprocess

import pytest

from tests.lab.phones import NUMBERS, call, phones, talk
from voip_stack import paths, vault
from voip_stack.paths import ca_file
from voip_stack.problem import Problem

CALLER, CALLEE = NUMBERS
ECHO = "*43"
PROBE = (paths.checkout() / "tests/lab/sip_probe.py").read_bytes()


@pytest.fixture
def proxy(pillar):
    return str(pillar.hosts["sip-1"].external_ipv6)


@pytest.fixture
def ask(on, pillar, proxy, compiled):
    """ask("register", "tls", user=...) -> what the probe in client-1 reports, by IPv6."""
    ports = compiled("sip-1")["ports"]["kamailio"]

    def run(what, transport, **order):
        name = {"udp": "sip-udp", "tcp": "sip-tcp", "tls": "sip-tls"}.get(transport, transport)
        order = {
            "do": what,
            "transport": transport,
            "address": proxy,
            "port": ports[name],
            "server_name": pillar.site.proxy_name,
            "domain": pillar.site.domain,
            "ca": ca_file().read_text(),
        } | order
        return json.loads(on("client-1", "python3", "-", json.dumps(order), stdin=PROBE))

    return run


# ---------------------------------------------------------------- calls
@pytest.mark.parametrize(
    ("callee", "by_ipv6"),
    [(ECHO, [CALLER]), (CALLEE, [CALLER]), (CALLEE, [CALLEE]), (CALLEE, [CALLER, CALLEE])],
    ids=["6 to the PBX", "6 to 4", "4 to 6", "6 to 6"],
)
def test_a_call_is_heard_both_ways(callee, by_ipv6):
    words = [word for number in by_ipv6 for word in ("--ipv6", number)]
    argv = [str(paths.checkout() / "voip"), "call", CALLER, callee, "--json", *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=90)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["ok"]
    assert report["audio"]["a_to_b"]["ok"]
    assert report["audio"]["b_to_a"]["ok"]
    assert all(leg["lost"] == 0 for leg in report["legs"]), report["legs"]


@pytest.mark.parametrize("by_ipv6", [(CALLER,), NUMBERS], ids=["6 to 4", "6 to 6"])
def test_keys_by_dtls_and_ice_go_by_ipv6_too(by_ipv6, salt):
    with phones(keying=("dtls+ice", "sdes"), by_ipv6=by_ipv6) as dialogue:
        setup = call(dialogue)
        talk(dialogue, 1.5)
        legs = []
        for host in ("media-1", "media-2"):
            with contextlib.suppress(Problem):
                legs += salt(host, "rtpengine.legs", setup.call_id_a)
    (outer,) = [leg for leg in legs if leg["interface"] == "external"]
    assert outer["remote"].startswith("[")
    assert outer["protocol"] == "UDP/TLS/RTP/SAVPF"


# ---------------------------------------------------------------- signalling
@pytest.mark.parametrize("transport", ["tls", "wss"])
def test_register(transport, ask, salt, eventually):
    salt("sip-1", "kamailio.unregister", "1003")
    password = vault.subscriber_passwords(["1003"])["1003"]
    found = ask("register", transport, user="1003", password=password)
    assert [code for code, _ in found["statuses"]] == [401, 200]
    assert f"sip:1003@{found['local']}" in found["contact"]
    assert found["local"].startswith("[")
    eventually(lambda: not salt("sip-1", "kamailio.registrations", "1003"), 20)


def test_a_call_without_an_offer_gets_one_of_its_own_family(ask, pillar):
    password = vault.subscriber_passwords(["1003"])["1003"]
    found = ask("call", "tls", user="1003", password=password, to=ECHO)
    assert [code for code, _ in found["statuses"]] == [407, 200]
    relays = [host.relay.external_ipv6 for host in pillar.hosts.values() if host.relay]
    assert any(f"c=IN IP6 {address}\r\n" in found["reply"] for address in relays), found["reply"]
    assert " RTP/SAVP " in found["reply"]


@pytest.mark.parametrize("transport", ["udp", "tcp", "ws"])
def test_cleartext_is_refused_with_an_answer(transport, ask):
    assert ask("request", transport, method="INVITE")["status"] == [403, "TLS Required"]


def test_our_own_via_from_outside_is_a_loop(ask, proxy, compiled):
    port = compiled("sip-1")["ports"]["kamailio"]["sip-tls"]
    via = f"Via: SIP/2.0/TLS [{proxy}]:{port};branch=z9hG4bKx"
    assert ask("request", "tls", headers=[via])["status"] == [482, "Loop Detected"]


# ---------------------------------------------------------------- where it is not
def test_only_the_external_side_has_it(pillar, on):
    """Not the PBX, not the internal interfaces, and no router's word is taken anywhere."""
    for host in pillar.minions():
        internal = pillar.networks["internal"].interface
        assert on(host, "ip", "-6", "address", "show", "dev", internal).strip() == ""
        routes = on(host, "ip", "-6", "route", "show", "default")
        assert routes.strip() == "", f"{host} has a way out by IPv6"
    assert on("pbx-1", "ip", "-6", "address", "show", "scope", "global").strip() == ""
