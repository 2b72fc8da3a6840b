"""Browsers: headless Chromium on the web phone's page, registered by secure WebSocket.

Chromium runs on this machine in the network of the outside guest. Its microphone plays a tone; what
it hears is recorded in the page and judged as any other phone's recording.
"""

import json
import re
import subprocess
from functools import partial
from pathlib import Path

import pytest

from tests.lab.phones import DTLS, SDES, call, hears, phones, profiles, talk
from tests.strangers import self_signed
from voip_stack import paths
from voip_stack.call.browser import Browser
from voip_stack.call.chromium import PACKAGES
from voip_stack.call.dialogue import CALLEE, CALLER
from voip_stack.call.failure import CallError
from voip_stack.call.plan import make_plan
from voip_stack.call.remote import Remote
from voip_stack.call.useragent import Settings
from voip_stack.pillar import load
from voip_stack.up.run import install_missing

PILLAR = load(paths.pillar_dir())
# The proxies that a browser can register at.
PROXIES = [
    name
    for name in PILLAR.components_of("sip-1")
    if {"wss", "sip-tls"} <= set(PILLAR.services.get(name, {}))
]
# Two browsers on a machine that serves the call as well send late now and then, and lose some.
LOST = 0.02
HEADERS = """
import http.client, ssl, socket
address, port, name, ca = arguments
context = ssl.create_default_context(cadata=ca)
plain = socket.create_connection((address, port), 5)
connection = http.client.HTTPConnection(name)
connection.sock = context.wrap_socket(plain, server_hostname=name)
connection.request("GET", "/")
print(json.dumps(dict(connection.getresponse().headers)))
"""
SUITES = ("AES_CM_128_HMAC_SHA1_80", "AEAD_AES_128_GCM", "AEAD_AES_256_GCM")


@pytest.fixture(scope="module", autouse=True)
def chromium(lab, eventually):
    """Installed where it is missing; and nothing of it is left by these tests."""
    install_missing(PACKAGES, yes=True)
    before = rooms()
    yield
    # A browser's directory goes last, when its processes have.
    eventually(lambda: rooms() <= before)


def rooms():
    return set(Path("/dev/shm").glob("voip-browser-*"))


def voip_call(*arguments):
    argv = [str(paths.checkout() / "voip"), "call", *arguments, "--json"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout)


def is_webrtc(sdp):
    """Keys by DTLS, ICE, RTCP beside RTP, and no SDES key."""
    return (
        re.search(r"(?m)^m=audio \d+ UDP/TLS/RTP/SAVPF ", sdp)
        and re.search(r"(?m)^a=fingerprint:sha-256 ([0-9A-F]{2}:){31}[0-9A-F]{2}\s*$", sdp)
        and re.search(r"(?m)^a=ice-ufrag:\S+", sdp)
        and re.search(r"(?m)^a=ice-pwd:\S+", sdp)
        and re.search(r"(?m)^a=candidate:", sdp)
        and re.search(r"(?m)^a=rtcp-mux\s*$", sdp)
        and "a=crypto:" not in sdp
    )


@pytest.mark.parametrize("proxy", PROXIES)
@pytest.mark.parametrize("ua", [CALLER, CALLEE], ids=["calls a phone", "is called by a phone"])
def test_a_browser_and_a_phone(ua, proxy, media, salt):
    """DTLS with the browser, SDES with the PBX and the phone; each hears the other's tone."""
    number, other = (("1001", "1002"), ("1002", "1001"))[ua == CALLEE]
    with phones(browsers=[number], proxy=proxy) as dialogue:
        contacts = salt("sip-1", f"{proxy}.registrations", number)
        assert any("transport=ws" in item["contact"] for item in contacts), contacts
        setup = call(dialogue)
        dialogue.start_tones()
        for sdp in dialogue.devices[ua].descriptions().values():
            assert is_webrtc(sdp), sdp
        assert dialogue.suite(ua) in SUITES
        call_ids = {CALLER: setup.call_id_a, CALLEE: setup.call_id_b}
        phone = CALLEE if ua == CALLER else CALLER
        assert dialogue.parties[phone].number == other
        assert profiles(media(call_ids[ua])[1]) == {"external": DTLS, "internal": SDES}
        assert profiles(media(call_ids[phone])[1]) == {"external": SDES, "internal": SDES}
        talk(dialogue, 1.5)


@pytest.mark.parametrize("proxy", PROXIES)
def test_a_browser_holds_and_resumes(proxy, eventually):
    """The phone hears nothing, then the browser again; meanwhile no packet comes to the browser."""

    def comes():
        """Whether audio comes to the browser just now."""
        before = browser.state().received
        dialogue.hold(0.6)
        now = browser.state().received
        return now is not None and now > (before or 0)

    with phones(browsers=["1001"], proxy=proxy) as dialogue:
        call(dialogue)
        dialogue.start_tones()
        browser = dialogue.devices[CALLER]
        eventually(lambda: hears(dialogue, CALLEE) and comes(), 8)
        browser.page.run("phone.session.hold()")
        eventually(lambda: not hears(dialogue, CALLEE) and not comes(), 8)
        assert not hears(dialogue, CALLEE)
        browser.page.run("phone.session.unhold()")
        eventually(lambda: hears(dialogue, CALLEE) and comes(), 8)
        dialogue.stop_tones()
        dialogue.hang_up()


@pytest.mark.parametrize("proxy", PROXIES)
def test_two_browsers_by_the_command(proxy):
    browsers = ("--from-browser", "--to-browser", "--proxy", proxy)
    report = voip_call("1001", "1002", *browsers, "--duration", "2", "--yes")
    assert report["ok"], report
    assert report["browsers"] == ["1001", "1002"]
    for leg in report["legs"]:
        assert leg["tls"] in ("TLSv1.2", "TLSv1.3")
        assert leg["srtp"] in SUITES
        assert leg["lost"] <= LOST * leg["packets"]
    for heard in report["audio"].values():
        assert heard["ok"], heard


@pytest.mark.parametrize("proxy", PROXIES)
def test_a_browser_hears_the_echo(proxy):
    report = voip_call("1001", "*43", "--from-browser", "--duration", "2", "--proxy", proxy)
    assert report["ok"], report
    assert report["answered_by"].startswith("*43")
    assert len(report["legs"]) == 2


def another_ca():
    """The certificate of a CA that is nobody's, PEM."""
    return self_signed("a stranger's root", is_ca=True)[0].decode()


@pytest.mark.parametrize(
    ("name", "ca_pem", "reason"),
    [
        (PILLAR.site.proxy_name, another_ca, "ERR_CERT_AUTHORITY_INVALID"),
        ("phone.example", lambda: paths.ca_file().read_text(), "ERR_CERT_COMMON_NAME_INVALID"),
    ],
    ids=["of a CA that it does not trust", "for another name"],
)
def test_a_browser_refuses_a_certificate(name, ca_pem, reason, provider):
    plan = make_plan(PILLAR, "1001", "1002", browsers=["1001"])
    settings = Settings.of(plan, "1001", "none", 600, (20000, 20198))
    page = plan.page.replace(PILLAR.site.proxy_name, name)
    inside = partial(provider.network_command, "client-1")
    with (
        Browser(Remote(["true"]), CALLER, settings, page, inside) as browser,
        pytest.raises(CallError, match=reason),
    ):
        browser.open(ca_pem(), {name: str(plan.proxy.external)})


def test_the_page_comes_with_its_policy(guest):
    plan = make_plan(PILLAR, "1001", "1002")
    where = [str(plan.proxy.external), plan.page_port, plan.proxy_name]
    head = guest("sip-1", HEADERS, *where, paths.ca_file().read_text())
    assert "script-src 'self'" in head["Content-Security-Policy"]
    assert f"wss://{plan.proxy_name}:{plan.wss_port}" in head["Content-Security-Policy"]
    assert head["X-Content-Type-Options"] == "nosniff"
