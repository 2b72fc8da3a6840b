"""The proxy from outside, by real SIP out of client-1: what it lets in, what it refuses and how.

Every registration is looked at in three places: SIP answer, the proxy's RPC, the database's row.
"""

import json
from pathlib import Path

import pytest

from tests.strangers import self_signed
from voip_stack import vault
from voip_stack.paths import ca_file, pillar_dir
from voip_stack.problem import Problem

PROBE = Path(__file__).with_name("sip_probe.py").read_bytes()
SDP = (
    "v=0\r\no=- 1 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n"
    "m=audio 40000 {protocol} 8\r\na=rtpmap:8 PCMA/8000\r\n{more}"
)
CRYPTO = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + "A" * 40 + "\r\n"


@pytest.fixture(scope="module")
def site(pillar):
    return pillar.site


@pytest.fixture(scope="module")
def ports(compiled):
    return compiled("sip-1")["ports"]["kamailio"]


@pytest.fixture(scope="module")
def passwords(pillar):
    return vault.subscriber_passwords([item.number for item in pillar.subscribers])


@pytest.fixture
def ask(on, pillar, ports, site):
    """ask("register", transport="wss", user=...) -> what the probe in a guest reports."""
    port_of = {
        "udp": ports["sip-udp"],
        "tcp": ports["sip-tcp"],
        "tls": ports["sip-tls"],
        "ws": ports["ws"],
        "wss": ports["wss"],
    }

    def run(what, transport="tls", host="client-1", **order):
        order = {
            "do": what,
            "transport": transport,
            "address": str(pillar.hosts["sip-1"].external),
            "port": port_of[transport],
            "server_name": site.proxy_name,
            "domain": site.domain,
            "ca": ca_file().read_text(),
        } | order
        return json.loads(on(host, "python3", "-", json.dumps(order), stdin=PROBE))

    return run


@pytest.fixture
def rows(on, site):
    """rows(number) -> contacts of a subscriber in the database."""

    def select(number):
        query = f"select contact from location where username='{number}'"  # noqa: S608
        argv = ["runuser", "-u", "postgres", "--", "psql", "-XtAc", query, "kamailio"]
        return [line for line in on("devstack", *argv).splitlines() if line]

    return select


@pytest.fixture
def clean(salt, rows, eventually):
    """1003, whom no call registers, is not registered before and after."""

    def forget():
        salt("sip-1", "kamailio.unregister", "1003")
        eventually(lambda: rows("1003") == [], 10)  # the proxy writes in rounds

    forget()
    yield
    forget()


def main_pid(on):
    return on("sip-1", "systemctl", "show", "-p", "MainPID", "--value", "kamailio").strip()


def is_answering(salt):
    try:
        return salt("sip-1", "kamailio.ping")
    except Problem:
        return None


def refused(counters, salt, name):
    """How much one of the proxy's counters grew."""
    return salt("sip-1", "kamailio.counters")[name] - counters[name]


# -------------------------------------------------------------------- registration


@pytest.mark.parametrize("transport", ["tls", "wss"])
def test_register(transport, ask, salt, rows, passwords, clean, eventually):
    found = ask("register", transport, user="1003", password=passwords["1003"])
    assert [code for code, _ in found["statuses"]] == [401, 200]
    assert found["tls"][0] in ("TLSv1.2", "TLSv1.3")
    mine = f"sip:1003@{found['local']}"
    assert mine in found["contact"]
    # The probe has gone: its contact goes with the connection, at the proxy's next round.
    known = salt("sip-1", "kamailio.registrations", "1003")
    assert [item["contact"].partition(";")[0] for item in known] in ([mine], [])
    eventually(lambda: not salt("sip-1", "kamailio.registrations", "1003"), 20)
    eventually(lambda: not rows("1003"), 20)


@pytest.fixture
def device(provider, pillar, ports, site, passwords):
    """device(number): a connection in client-1 that registers and stays, closed at the end.

    password: of a number that the pillar had not at first.
    """
    import subprocess

    running = []

    def start(number, password=None):
        order = {
            "do": "hold",
            "transport": "tls",
            "address": str(pillar.hosts["sip-1"].external),
            "port": ports["sip-tls"],
            "server_name": site.proxy_name,
            "domain": site.domain,
            "ca": ca_file().read_text(),
            "user": number,
            "password": password or passwords[number],
        }
        provider.put("client-1", "/run/sip_probe.py", PROBE)
        argv = provider.command("client-1", ["python3", "/run/sip_probe.py", json.dumps(order)])
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        running.append(process)
        return json.loads(process.stdout.readline())

    yield start
    for process in running:
        process.stdin.close()  # the probe ends with its standard input
        process.wait(10)


def test_a_registration_in_three_places_and_after_a_restart(
    device, salt, rows, clean, eventually, on
):
    found = device("1003")
    assert [code for code, _ in found["statuses"]] == [401, 200]
    mine = f"sip:1003@{found['local']};transport=tls"
    assert [item["contact"] for item in salt("sip-1", "kamailio.registrations", "1003")] == [mine]
    assert rows("1003") == [mine]

    killed = main_pid(on)
    on("sip-1", "systemctl", "kill", "--signal=KILL", "kamailio")
    eventually(lambda: main_pid(on) not in ("0", killed) and is_answering(salt), 20)
    assert [item["contact"] for item in salt("sip-1", "kamailio.registrations", "1003")] == [mine]
    assert rows("1003") == [mine]

    assert salt("sip-1", "kamailio.unregister", "1003") is True
    assert salt("sip-1", "kamailio.registrations", "1003") == []
    eventually(lambda: rows("1003") == [], 5)


@pytest.fixture
def declare(salt, eventually):
    """declare(text): pillar/subscribers/ has a CSV file of this text too, and the proxy's host."""
    path = pillar_dir() / "subscribers" / "zz-lab-test.csv"

    def apply():
        found = salt("sip-1", "state.apply", "subscribers", timeout_s=60)
        return next(iter(found.values()))["changes"]

    def write(text):
        path.write_text(text)
        return apply()

    yield write
    path.unlink(missing_ok=True)
    apply()


def test_added_suspended_rotated_removed(
    declare, device, ask, salt, passwords, rows, clean, eventually
):
    """One edit each; nothing is restarted, and others keep their registrations."""
    started = salt("sip-1", "kamailio.ping")["uptime_s"]
    device("1003")
    head = "number,name,state,aliases\n"
    added = declare(f"{head}1098,Ann,active,+4930555555\n1099,Ben,active,\n")
    assert {name: item["count"] for name, item in added.items()} == {"added": 2, "aliases added": 1}
    words = vault.subscriber_passwords(["1098", "1099"])
    assert device("1098", words["1098"])["statuses"][-1] == [200, "OK"]

    # Her E.164 number is hers, away or not; the next one is nobody's.
    offer = {"user": "1001", "password": passwords["1001"]}
    salt("sip-1", "kamailio.unregister", "1098")
    assert ask("call", to="+4930555555", **offer)["statuses"][-1][0] == 480
    refusal = [403, "Destination Not Allowed"]
    assert ask("call", to="+4930555556", **offer)["statuses"][-1] == refusal

    device("1098", words["1098"])
    changes = declare(f"{head}1098,Ann,suspended,+4930555555\n1099,Ben,active,\n")
    assert changes == {
        "changed": {"count": 1, "sample": ["1098"]},
        "unregistered": {"count": 1, "sample": ["1098"]},
    }
    assert salt("sip-1", "kamailio.registrations", "1098") == []
    assert rows("1098") == []
    hers = {"user": "1098", "password": words["1098"]}
    assert ask("register", **hers)["statuses"] == [[401, "Unauthorized"], [403, "Suspended"]]
    assert ask("call", to="1001", **hers)["statuses"][-1] == [403, "Suspended"]

    device("1099", words["1099"])
    assert salt("sip-1", "subscribers.rotate", "1099") == {"number": "1099", "unregistered": True}
    assert salt("sip-1", "kamailio.registrations", "1099") == []
    assert rows("1099") == []
    new = vault.subscriber_passwords(["1099"])["1099"]
    assert ask("register", user="1099", password=words["1099"])["statuses"][-1][0] == 403
    assert ask("register", user="1099", password=new)["statuses"][-1] == [200, "OK"]

    device("1099", new)
    changes = declare(head)
    assert {name: item["count"] for name, item in changes.items()} == {
        "removed": 2, "aliases removed": 1, "unregistered": 1,
    }  # fmt: skip
    assert ask("register", user="1099", password=new)["statuses"][-1] == [403, "Forbidden"]
    assert len(salt("sip-1", "kamailio.registrations", "1003")) == 1
    assert salt("sip-1", "kamailio.ping")["uptime_s"] >= started


def test_wrong_password_and_unknown_user_get_the_same_words(ask, passwords):
    wrong = ask("register", user="1001", password="not the password")
    unknown = ask("register", user="9999", password="not the password")
    assert wrong["statuses"] == unknown["statuses"] == [[401, "Unauthorized"], [403, "Forbidden"]]
    ask("register", user="1001", password=passwords["1001"], expires=0)  # clears the count


def test_nobody_registers_in_another_name(ask, passwords, rows, clean):
    found = ask("register", user="1001", password=passwords["1001"], from_user="1003")
    assert found["statuses"][-1] == [403, "Forbidden"]
    assert rows("1003") == []


def test_credentials_serve_once(ask, passwords):
    found = ask("register", user="1001", password=passwords["1001"], replay=True)
    assert [code for code, _ in found["statuses"]] == [401, 200, 401]


def test_the_database_has_digests_only(on):
    query = "select count(*) from subscriber where password <> '' or length(ha1) <> 32"
    argv = ["runuser", "-u", "postgres", "--", "psql", "-XtAc", query, "kamailio"]
    assert on("devstack", *argv).strip() == "0"


# -------------------------------------------------------------------- cleartext


@pytest.mark.parametrize("transport", ["udp", "tcp", "ws"])
@pytest.mark.parametrize("method", ["OPTIONS", "REGISTER", "INVITE"])
def test_cleartext_is_refused_with_an_answer(transport, method, ask, salt):
    before = salt("sip-1", "kamailio.counters")
    found = ask("request", transport, method=method)
    assert found["status"] == [403, "TLS Required"]
    assert "TLS required" in found["warning"]
    assert refused(before, salt, "cleartext_refused") == 1


@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1"])
@pytest.mark.parametrize("transport", ["tls", "wss"])
def test_old_tls_is_refused(transport, version, ask):
    found = ask("request", transport, tls_max=version, ca=None)
    assert found["failed"] == "SSLError"
    assert "protocol" in found["why"].lower()


@pytest.mark.parametrize("transport", ["tls", "wss"])
def test_the_certificate_is_of_our_ca_and_name(transport, ask):
    """The probe verifies both: an answer is the proof."""
    assert ask("request", transport)["status"] == [200, "OK"]
    assert ask("request", transport, server_name="somebody.else")["failed"].startswith("SSLCert")


def test_plain_http_on_the_web_port_is_turned_away(ask, ports):
    found = ask("raw", "tls", port=ports["wss"], text="GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert found["head"].startswith("HTTP/1.1 426 ")


# -------------------------------------------------------------------- hygiene


def test_oversized(ask, pillar, salt):
    before = salt("sip-1", "kamailio.counters")
    padding = "X-Pad: " + "a" * pillar.routing.max_message_bytes
    assert ask("request", headers=[padding])["status"] == [513, "Message Too Large"]
    assert refused(before, salt, "oversized_refused") == 1


def test_max_forwards(ask):
    assert ask("request", max_forwards=0)["status"] == [483, "Too Many Hops"]


@pytest.mark.parametrize(
    "change",
    [
        ("SIP/2.0\r\nVia", "SIP/3.0\r\nVia"),
        ("CSeq: 1 OPTIONS", "CSeq: 1 INVITE"),
        ("Call-ID:", "X-Call-ID:"),
        ("Content-Length: 0", "Content-Length: -5"),
        ("To: <", "To: <<<"),
    ],
    ids=["version", "method differs", "no Call-ID", "negative length", "broken To"],
)
def test_malformed(change, ask):
    """An answer of 4xx or 5xx, or the end of the connection; never service."""
    found = ask("malformed", change=change, timeout_s=2)
    assert found["status"] is None or 400 <= found["status"][0] < 600, found


def test_a_scanner_gets_no_answer(ask, salt):
    before = salt("sip-1", "kamailio.counters")
    found = ask("request", headers=["User-Agent: friendly-scanner"], timeout_s=2)
    assert found["failed"] == "TimeoutError"
    assert refused(before, salt, "scanners_dropped") == 1


def test_our_own_via_from_outside_is_a_loop(ask, pillar, ports):
    via = f"Via: SIP/2.0/TLS {pillar.hosts['sip-1'].external}:{ports['sip-tls']};branch=z9hG4bKx"
    assert ask("request", headers=[via])["status"] == [482, "Loop Detected"]


def banned(salt):
    """{source: reason} of who is shut out."""
    return {row["source"]: row["reason"] for row in salt("sip-1", "kamailio.bans")}


def test_a_flood_is_dropped_and_forgiven(ask, salt, eventually, pillar):
    outside = str(pillar.hosts["client-1"].external)
    try:
        ask("request", repeat=pillar.routing.pike.requests * 6)
        eventually(lambda: banned(salt) == {outside: "flood"}, 10)
        assert ask("request", timeout_s=2)["failed"] in ("TimeoutError", "ConnectionError")
    finally:
        salt("sip-1", "kamailio.unban", outside)
    # pike itself forgets within a few of its windows.
    eventually(lambda: ask("request", timeout_s=2).get("status") == [200, "OK"], 30)


# -------------------------------------------------------------------- calls that are refused


@pytest.mark.parametrize("number", ["1002", "*43", "9999"])
def test_no_call_without_credentials(number, ask, site):
    found = ask("request", method="INVITE", uri=f"sip:{number}@{site.domain}")
    assert found["status"][0] == 407


def test_no_relay(ask, salt):
    before = salt("sip-1", "kamailio.counters")
    found = ask("request", method="INVITE", uri="sip:1002@example.org")
    assert found["status"] == [403, "Relaying Denied"]
    assert refused(before, salt, "relay_denied") == 1


def sdp(pillar, protocol, more=""):
    return SDP.format(address=pillar.hosts["client-1"].external, protocol=protocol, more=more)


def test_a_forged_from_is_refused(ask, pillar, passwords):
    found = ask(
        "call",
        user="1001",
        password=passwords["1001"],
        from_user="1003",
        body=sdp(pillar, "RTP/SAVP", CRYPTO),
    )
    assert found["statuses"][-1] == [403, "Forbidden"]


@pytest.mark.parametrize(
    ("protocol", "more"),
    [
        ("RTP/AVP", ""),
        ("RTP/AVP", CRYPTO),
        ("RTP/AVPF", ""),
        ("udptl", ""),
        ("RTP/SAVP", CRYPTO.replace("AES_CM_128_HMAC_SHA1_80", "NULL_HMAC_SHA1_80")),
        ("RTP/SAVP", CRYPTO.replace("\r\n", " UNENCRYPTED_SRTP\r\n")),
    ],
)
def test_cleartext_media_is_not_acceptable(protocol, more, ask, pillar, passwords):
    found = ask("call", user="1001", password=passwords["1001"], body=sdp(pillar, protocol, more))
    assert found["statuses"][-1] == [488, "Not Acceptable Here"]
    assert "SRTP required" in found["warning"]


def test_a_body_that_could_hide_an_offer_is_refused(ask, pillar, passwords):
    found = ask(
        "call",
        user="1001",
        password=passwords["1001"],
        body="--x\r\n\r\n" + sdp(pillar, "RTP/AVP") + "--x--",
        content_type="multipart/mixed;boundary=x",
    )
    assert found["statuses"][-1] == [415, "Unsupported Media Type"]


@pytest.mark.parametrize(
    ("number", "code"), [("9999", 404), ("1003", 480)], ids=["unknown", "not registered"]
)
def test_a_call_to_nobody(number, code, ask, pillar, passwords, clean):
    found = ask(
        "call",
        user="1001",
        password=passwords["1001"],
        to=number,
        body=sdp(pillar, "RTP/SAVP", CRYPTO),
    )
    assert found["statuses"][-1][0] == code


@pytest.mark.parametrize(
    ("uri", "is_registered", "code"),
    [
        ("sip:{client}:5060", False, 407),
        ("sip:{client}:5060", True, 403),
        ("sip:{media}:22222", True, 403),
        ("sip:{pbx}:5061;transport=tls", False, 407),
        ("sip:{pbx}:5061;transport=tls", True, 481),
    ],
    ids=["stranger", "to outside", "to another host", "stranger to the PBX", "to the PBX"],
)
def test_an_open_dialog_is_no_way_through(uri, is_registered, code, ask, pillar, ports, passwords):
    """Only to a PBX, only over a connection that proved who it is; the PBX knows no such call."""
    hosts = pillar.hosts
    uri = uri.format(
        client=hosts["client-1"].external,
        media=hosts["media-1"].internal,
        pbx=hosts["pbx-1"].internal,
    )
    route = f"sip:{hosts['sip-1'].external}:{ports['sip-tls']};transport=tls;lr"
    password = {"password": passwords["1001"]} if is_registered else {}
    assert ask("in_dialog", uri=uri, route=route, **password)["status"][0] == code


def test_an_unanswered_call_is_accounted_for(ask, pillar, passwords, on, clean, eventually):
    call = {"user": "1001", "password": passwords["1001"], "body": sdp(pillar, "RTP/SAVP", CRYPTO)}
    ask("call", to="1003", **call)
    query = (
        "select sip_code, src_user, dst_user from missed_calls"
        " where time > now() at time zone 'utc' - interval '10 seconds' order by id desc limit 1"
    )
    argv = ["runuser", "-u", "postgres", "--", "psql", "-XtAc", query, "kamailio"]
    eventually(lambda: on("devstack", *argv).strip() == "480|1001|1003", 10)


def test_without_a_pbx_the_caller_is_told_when_to_try_again(ask, salt, pillar, passwords):
    (pbx,) = salt("sip-1", "kamailio.dispatchers")
    call = {"user": "1001", "password": passwords["1001"], "body": sdp(pillar, "RTP/SAVP", CRYPTO)}
    salt("sip-1", "kamailio.rpc", "dispatcher.set_state", "d", 1, pbx["uri"])
    try:
        found = ask("call", **call)
    finally:
        salt("sip-1", "kamailio.rpc", "dispatcher.set_state", "ap", 1, pbx["uri"])
    assert found["statuses"][-1] == [503, "No PBX Available"]
    assert int(found["retry_after"]) > 0


def test_without_a_media_relay_no_call_starts(ask, salt, pillar, passwords):
    call = {"user": "1001", "password": passwords["1001"], "body": sdp(pillar, "RTP/SAVP", CRYPTO)}
    salt("sip-1", "kamailio.rpc", "rtpengine.enable", "all", 0)
    try:
        found = ask("call", **call)
    finally:
        salt("sip-1", "kamailio.rpc", "rtpengine.enable", "all", 1)
    assert found["statuses"][-1] == [503, "No Media Relay Available"]


# -------------------------------------------------------------------- the internal side


@pytest.fixture
def inside(ask, pillar):
    """As `ask`, from a host of the internal network to the proxy's internal side."""

    def run(what, host, **order):
        return ask(what, host=host, address=str(pillar.hosts["sip-1"].internal), **order)

    return run


@pytest.mark.parametrize("transport", ["tls", "wss"])
def test_inside_a_certificate_is_demanded(transport, inside):
    found = inside("request", "sip-1", transport=transport)
    assert found["failed"] in ("SSLError", "ConnectionResetError", "ConnectionError"), found


@pytest.mark.parametrize("transport", ["tls", "wss"])
def test_inside_a_certificate_of_nobody_is_refused(transport, inside, provider):
    certificate, key = self_signed("pbx-1.voip.test")
    provider.put("media-1", "/run/nobody.crt", certificate)
    provider.put("media-1", "/run/nobody.key", key, mode=0o600)
    found = inside(
        "request", "media-1", transport=transport, client=["/run/nobody.crt", "/run/nobody.key"]
    )
    assert found["failed"] in ("SSLError", "ConnectionResetError", "ConnectionError"), found


def test_the_pbx_is_let_in_with_its_own_certificate(inside):
    tls = "/etc/voip-stack/tls/asterisk"
    own = [f"{tls}.crt", f"{tls}.key"]
    assert inside("request", "pbx-1", client=own)["status"] == [200, "OK"]
    found = inside("request", "pbx-1", client=own, method="REGISTER")
    assert found["status"] == [403, "Relaying Denied"]


def test_another_host_is_not_the_pbx_even_with_a_certificate_of_our_ca(inside):
    """The proxy's own certificate, from the proxy's own address: of our CA, and no PBX."""
    tls = "/etc/voip-stack/tls/kamailio"
    found = inside("request", "sip-1", client=[f"{tls}.crt", f"{tls}.key"], method="INVITE",
                   uri="sip:1002@voip.test")  # fmt: skip
    assert found["status"] == [403, "Not A Peer"]


# -------------------------------------------------------------------- the service


def test_the_pbx_is_probed_and_alive(salt, eventually):
    def alive():
        (pbx,) = salt("sip-1", "kamailio.dispatchers")
        return pbx["state"] == "active" and pbx

    assert eventually(alive, 30)["uri"].endswith(";transport=tls")


def test_a_broken_routing_is_refused_and_the_proxy_runs_on(on, salt):
    before = main_pid(on)
    on("sip-1", "cp", "-r", "/etc/kamailio/voip", "/run/voip-broken")
    try:
        broken = "echo 'route[X] { nosuch(); }' >> /run/voip-broken/routes/media.cfg"
        on("sip-1", "sh", "-c", broken)
        with pytest.raises(Problem, match=r"routes/media\.cfg, line \d+"):
            salt("sip-1", "kamailio.check_config", "/run/voip-broken")
    finally:
        on("sip-1", "rm", "-r", "/run/voip-broken")
    assert salt("sip-1", "kamailio.check_config", "/etc/kamailio/voip") is True
    assert main_pid(on) == before


def test_tables_are_mended_without_a_restart(device, on, salt, clean):
    """The proxy reads them again, and a device's connection is not touched."""
    device("1003")
    before, held = main_pid(on), salt("sip-1", "kamailio.registrations", "1003")
    on("sip-1", "sh", "-c", "echo '# by hand' >> /etc/kamailio/voip/dispatcher.list")
    (mended,) = salt(
        "sip-1", "state.single", "voip_proxy.tables", "/etc/kamailio/voip", "kamailio"
    ).values()
    assert mended["result"] is True
    assert list(mended["changes"]) == ["dispatcher.list"]
    assert "dispatcher.reload" in mended["comment"]
    assert main_pid(on) == before
    after = salt("sip-1", "kamailio.registrations", "1003")
    assert [item["connection_id"] for item in after] == [item["connection_id"] for item in held]
    ids = [item["id"] for item in salt("sip-1", "kamailio.connections")]
    assert after[0]["connection_id"] in ids


def test_it_runs_as_its_own_user_and_reads_no_other_key(on):
    status = on("sip-1", "cat", f"/proc/{main_pid(on)}/status")
    uid = on("sip-1", "id", "-u", "kamailio").strip()
    assert f"Uid:\t{uid}\t{uid}\t{uid}\t{uid}" in status
    assert "NoNewPrivs:\t1" in status
    assert "CapBnd:\t0000000000000000" in status
