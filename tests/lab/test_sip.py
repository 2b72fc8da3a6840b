"""Each proxy from outside, by real SIP out of client-1: what it lets in, what it refuses and how.

Both run the same tests (tests/lab/proxies.py). Every registration is looked at in three places: SIP
answer, the proxy's own word, the database's row.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.lab import scenarios
from tests.strangers import self_signed
from voip_stack import vault
from voip_stack.master import client
from voip_stack.paths import checkout, pillar_dir
from voip_stack.problem import Problem

PROBE = Path(__file__).with_name("sip_probe.py").read_bytes()


# How a probe is told that nobody wants to speak with it: the end may be seen before its reason.
NO_HANDSHAKE = ("SSLError", "SSLEOFError", "ConnectionResetError", "ConnectionError")


@pytest.fixture(scope="module")
def passwords(pillar):
    return vault.subscriber_passwords([item.number for item in pillar.subscribers])


@pytest.fixture
def rows(on, proxy):
    """rows(number) -> contacts of a subscriber in the database."""

    def select(number):
        query = f"select contact from {proxy.locations} where username='{number}'"  # noqa: S608
        argv = ["runuser", "-u", "postgres", "--", "psql", "-XtAc", query, "kamailio"]
        return [line for line in on("devstack", *argv).splitlines() if line]

    return select


@pytest.fixture
def clean(tell_proxy, rows, eventually):
    """1003, whom no call registers, is not registered before and after."""

    def forget():
        tell_proxy("unregister", "1003")
        eventually(lambda: rows("1003") == [], 10)  # the proxy writes in rounds

    forget()
    yield
    forget()


@pytest.fixture(scope="module")
def main_pid(on, proxy):
    show = ("systemctl", "show", "-p", "MainPID", "--value", proxy.name)
    return lambda: on("sip-1", *show).strip()


def is_answering(tell_proxy):
    try:
        return tell_proxy("ping")
    except Problem:
        return None


# -------------------------------------------------------------------- registration


@pytest.mark.parametrize("transport", ["tls", "wss"])
def test_register(transport, ask, rows, passwords, clean, eventually, tell_proxy):
    found = ask("register", transport=transport, user="1003", password=passwords["1003"])
    assert [code for code, _ in found["statuses"]] == [401, 200]
    assert found["tls"][0] in ("TLSv1.2", "TLSv1.3")
    mine = f"sip:1003@{found['local']}"
    assert mine in found["contact"]
    # The probe has gone: its contact goes with the connection, at the proxy's next round.
    known = tell_proxy("registrations", "1003")
    assert [item["contact"].partition(";")[0] for item in known] in ([mine], [])
    eventually(lambda: not tell_proxy("registrations", "1003"), 20)
    eventually(lambda: not rows("1003"), 20)


@pytest.fixture
def device(provider, to_proxy, passwords):
    """device(number): a connection in client-1 that registers and stays, closed at the end.

    password: of a number that the pillar had not at first.
    """
    running = []

    def start(number, password=None):
        order = {"do": "hold"} | to_proxy(user=number, password=password or passwords[number])
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
    device, rows, clean, eventually, on, tell_proxy, main_pid, proxy
):
    found = device("1003")
    assert [code for code, _ in found["statuses"]] == [401, 200]
    mine = f"sip:1003@{found['local']};transport=tls"
    assert [item["contact"] for item in tell_proxy("registrations", "1003")] == [mine]
    assert rows("1003") == [mine]

    killed = main_pid()
    on("sip-1", "systemctl", "kill", "--signal=KILL", proxy.name)
    eventually(lambda: main_pid() not in ("0", killed) and is_answering(tell_proxy), 20)
    assert [item["contact"] for item in tell_proxy("registrations", "1003")] == [mine]
    assert rows("1003") == [mine]

    assert tell_proxy("unregister", "1003") is True
    assert tell_proxy("registrations", "1003") == []
    eventually(lambda: rows("1003") == [], 5)


@pytest.fixture
def declare(salt):
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
    declare, device, ask, salt, passwords, rows, clean, eventually, tell_proxy
):
    """One edit each; nothing is restarted, and others keep their registrations."""
    started = tell_proxy("ping")["uptime_s"]
    device("1003")
    head = "number,name,state,aliases\n"
    added = declare(f"{head}1098,Ann,active,+4930555555\n1099,Ben,active,\n")
    assert {name: item["count"] for name, item in added.items()} == {"added": 2, "aliases added": 1}
    words = vault.subscriber_passwords(["1098", "1099"])
    assert device("1098", words["1098"])["statuses"][-1] == [200, "OK"]

    # Her E.164 number is hers, away or not; the next one is nobody's.
    offer = {"user": "1001", "password": passwords["1001"]}
    tell_proxy("unregister", "1098")
    assert ask("call", to="+4930555555", **offer)["statuses"][-1][0] == 480
    refusal = [403, "Destination Not Allowed"]
    assert ask("call", to="+4930555556", **offer)["statuses"][-1] == refusal

    device("1098", words["1098"])
    changes = declare(f"{head}1098,Ann,suspended,+4930555555\n1099,Ben,active,\n")
    assert changes == {
        "changed": {"count": 1, "sample": ["1098"]},
        "unregistered": {"count": 1, "sample": ["1098"]},
    }
    assert tell_proxy("registrations", "1098") == []
    assert rows("1098") == []
    hers = {"user": "1098", "password": words["1098"]}
    assert ask("register", **hers)["statuses"] == [[401, "Unauthorized"], [403, "Suspended"]]
    assert ask("call", to="1001", **hers)["statuses"][-1] == [403, "Suspended"]

    device("1099", words["1099"])
    assert salt("sip-1", "subscribers.rotate", "1099") == {"number": "1099", "unregistered": True}
    assert tell_proxy("registrations", "1099") == []
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
    assert len(tell_proxy("registrations", "1003")) == 1
    assert tell_proxy("ping")["uptime_s"] >= started


@pytest.fixture
def behind_its_back(on):
    """behind_its_back(state): 1003's in the table, as neither state nor proxy is told of it."""

    def write(state):
        query = f"update subscriber set state = '{state}' where username = '1003'"  # noqa: S608
        on("devstack", "runuser", "-u", "postgres", "--", "psql", "-XtAc", query, "kamailio")

    yield write
    write("active")


def test_what_anybody_writes_of_a_subscriber_is_known_soon(
    ask, passwords, clean, behind_its_back, eventually
):
    """The proxy remembers who was let in, for as long as nobody's row changes."""
    own = {"user": "1003", "password": passwords["1003"]}

    def last():
        return ask("register", **own)["statuses"][-1]

    assert last() == [200, "OK"]
    assert last() == [200, "OK"]
    wrong = ask("register", **own | {"password": "guessed"})
    assert wrong["statuses"][-1] == [403, "Forbidden"]
    behind_its_back("suspended")
    eventually(lambda: last() == [403, "Suspended"], 3)
    behind_its_back("active")
    eventually(lambda: last() == [200, "OK"], 3)


def test_the_database_has_digests_only(on):
    query = "select count(*) from subscriber where password <> '' or length(ha1) <> 32"
    argv = ["runuser", "-u", "postgres", "--", "psql", "-XtAc", query, "kamailio"]
    assert on("devstack", *argv).strip() == "0"


# -------------------------------------------------------------------- transport


@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1"])
@pytest.mark.parametrize("transport", ["tls", "wss"])
def test_old_tls_is_refused(transport, version, ask):
    found = ask("request", transport=transport, tls_max=version, ca=None)
    assert found["failed"] == "SSLError"
    assert "protocol" in found["why"].lower()


@pytest.mark.parametrize("transport", ["tls", "wss"])
def test_the_certificate_is_of_our_ca_and_name(transport, ask):
    """The probe verifies both: an answer is the proof."""
    assert ask("request", transport=transport)["status"] == [200, "OK"]
    assert ask("request", transport=transport, server_name="somebody.else")["failed"].startswith(
        "SSLCert"
    )


def test_plain_http_on_the_web_port_is_turned_away(ask, ports):
    found = ask("raw", port=ports["wss"], text="GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert found["head"].startswith("HTTP/1.1 4")


def banned(tell_proxy):
    """{source: reason} of who is shut out."""
    return {row["source"]: row["reason"] for row in tell_proxy("bans")}


def test_a_flood_is_dropped_and_forgiven(ask, eventually, pillar, tell_proxy):
    outside = str(pillar.hosts["client-1"].external)
    try:
        ask("request", repeat=pillar.routing.pike.requests * 6)
        eventually(lambda: banned(tell_proxy) == {outside: "flood"}, 10)
        assert ask("request", timeout_s=2)["failed"] in ("TimeoutError", "ConnectionError")
    finally:
        tell_proxy("unban", outside)
    # pike itself forgets within a few of its windows.
    eventually(lambda: ask("request", timeout_s=2).get("status") == [200, "OK"], 30)


# -------------------------------------------------------------------- calls


@pytest.fixture(scope="module")
def call(pillar, passwords):
    """1001 with an offer as it should be."""
    body = scenarios.BODIES["srtp"].replace("{client}", str(pillar.hosts["client-1"].external))
    return {"user": "1001", "password": passwords["1001"], "body": body}


def test_an_unanswered_call_is_accounted_for(ask, call, on, clean, eventually):
    ask("call", to="1003", **call)
    query = (
        "select sip_code, src_user, dst_user from missed_calls"
        " where time > now() at time zone 'utc' - interval '10 seconds' order by id desc limit 1"
    )
    argv = ["runuser", "-u", "postgres", "--", "psql", "-XtAc", query, "kamailio"]
    eventually(lambda: on("devstack", *argv).strip() == "480|1001|1003", 10)


def test_without_a_pbx_the_caller_is_told_when_to_try_again(ask, proxy, salt, call):
    with proxy.without_pbx(salt):
        found = ask("call", **call)
    assert found["statuses"][-1] == [503, "No PBX Available"]
    assert int(found["retry_after"]) > 0


def test_without_a_media_relay_no_call_starts(ask, proxy, salt, call):
    with proxy.without_relays(salt):
        found = ask("call", **call)
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
    assert found["failed"] in NO_HANDSHAKE, found


@pytest.mark.parametrize("transport", ["tls", "wss"])
def test_inside_a_certificate_of_nobody_is_refused(transport, inside, provider):
    certificate, key = self_signed("pbx-1.voip.test")
    provider.put("media-1", "/run/nobody.crt", certificate)
    provider.put("media-1", "/run/nobody.key", key, mode=0o600)
    found = inside(
        "request", "media-1", transport=transport, client=["/run/nobody.crt", "/run/nobody.key"]
    )
    assert found["failed"] in NO_HANDSHAKE, found


def test_the_pbx_is_let_in_with_its_own_certificate(inside):
    tls = "/etc/voip-stack/tls/asterisk"
    own = [f"{tls}.crt", f"{tls}.key"]
    assert inside("request", "pbx-1", client=own)["status"] == [200, "OK"]
    found = inside("request", "pbx-1", client=own, method="REGISTER")
    assert found["status"] == [403, "Relaying Denied"]


def test_another_host_is_not_the_pbx_even_with_a_certificate_of_our_ca(inside, proxy):
    """The proxy's own certificate, from the proxy's own address: of our CA, and no PBX."""
    tls = f"/etc/voip-stack/tls/{proxy.name}"
    found = inside("request", "sip-1", client=[f"{tls}.crt", f"{tls}.key"], method="INVITE",
                   uri="sip:1002@voip.test")  # fmt: skip
    assert found["status"] == [403, "Not A Peer"]


# -------------------------------------------------------------------- the service


def test_the_pbx_is_probed_and_alive(eventually, tell_proxy):
    def alive():
        (pbx,) = tell_proxy("dispatchers")
        return pbx["state"] == "active" and pbx

    assert eventually(alive, 30)["uri"].endswith(";transport=tls")


@pytest.fixture
def broken(proxy):
    """The proxy's routing with a mistake in it, as a directory of the file server."""
    source = checkout() / "salt" / "zz-lab-test"
    shutil.copytree(checkout() / "salt" / proxy.name / "files", source)
    with (source / "routes/media.cfg").open("a") as file:
        file.write("route[X] { nosuch(); }\n")
    yield f"salt://{source.name}"
    shutil.rmtree(source)


def test_a_broken_routing_is_refused_and_the_proxy_runs_on(on, proxy, broken, main_pid, eventually):
    everything = ("sh", "-c", f"find {proxy.directory} -type f -exec sha256sum {{}} + | sort")
    before = main_pid(), on("sip-1", *everything)
    given = {"name": proxy.directory, "component": proxy.name, "source": broken}

    def refused():
        """The file server knows the directory within its 20 s."""
        job = client.run(["sip-1"], "state.single", ["voip_proxy.configured"], given)
        (ret,) = job.returns["sip-1"].values()
        assert (ret["result"], ret["changes"]) == (False, {}), ret
        return re.search(proxy.line, ret["comment"])

    eventually(refused, 30, 2)
    assert (main_pid(), on("sip-1", *everything)) == before


def test_tables_are_mended_without_a_restart(device, on, salt, proxy, tell_proxy, main_pid, clean):
    """The proxy reads them again, and a device's connection is not touched."""
    local = device("1003")["local"]
    file, reload = proxy.edited
    before = main_pid()
    on("sip-1", "sh", "-c", f"echo '# by hand' >> {proxy.directory}/{file}")
    (mended,) = salt(
        "sip-1", "state.single", "voip_proxy.tables", proxy.directory, component=proxy.name
    ).values()
    assert mended["result"] is True
    assert list(mended["changes"]) == [file]
    assert reload in mended["comment"]
    assert main_pid() == before
    assert local in tell_proxy("registrations", "1003")[0]["contact"]
    assert local in [item["remote"] for item in tell_proxy("connections")]


def test_it_runs_as_its_own_user_and_reads_no_other_key(on, proxy, main_pid):
    status = on("sip-1", "cat", f"/proc/{main_pid()}/status")
    uid = on("sip-1", "id", "-u", proxy.name).strip()
    assert f"Uid:\t{uid}\t{uid}\t{uid}\t{uid}" in status
    assert "NoNewPrivs:\t1" in status
    assert "CapBnd:\t0000000000000000" in status


KNOCK = """
import socket, sys
link = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
try:
    link.connect(sys.argv[1])
except OSError as err:
    sys.exit(type(err).__name__)
"""


def test_its_control_socket_is_closed_to_others(on, provider, proxy):
    """Who may ask it lists calls, with their SRTP keys at OpenSIPS, and may end them."""
    knock = ["python3", "-c", KNOCK, proxy.socket]
    on("sip-1", *knock)
    done = provider.run("sip-1", ["runuser", "-u", "nobody", "--", *knock], check=False)
    assert (done.returncode, done.stderr.strip()) == (1, b"PermissionError")
