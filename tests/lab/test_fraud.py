"""What a stranger or a stolen password costs: nothing, and little. By real SIP out of client-1.

At each proxy the same."""

import json
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.lab.phones import SDP
from tests.lab.proxies import PROXIES
from tests.told import tell
from voip_stack import outside, paths, vault
from voip_stack.events import record

PROBE = Path(__file__).with_name("sip_probe.py").read_bytes()
# Queries that the pooler has passed on, by database: its own console, open to its own user.
QUERIES = """
import grp, os, pwd, psycopg
own = pwd.getpwnam("postgres")
os.initgroups("postgres", own.pw_gid)
os.setgid(own.pw_gid)
os.setuid(own.pw_uid)
with psycopg.connect(
    host="/run/pgbouncer", port=arguments[0], dbname="pgbouncer", user="pgbouncer",
    autocommit=True, prepare_threshold=None, cursor_factory=psycopg.ClientCursor,
) as link:
    cursor = link.execute("SHOW STATS_TOTALS")
    names = [column.name for column in cursor.description]
    rows = [dict(zip(names, row)) for row in cursor.fetchall()]
print(json.dumps({row["database"]: int(row["query_count"]) for row in rows}))
"""


@pytest.fixture(scope="module")
def passwords(pillar):
    return vault.subscriber_passwords([item.number for item in pillar.subscribers])


@pytest.fixture
def neighbour(on, pillar):
    """Addresses of client-1 that no other test has: {"ipv4": ..., "ipv6": ...}."""
    external = pillar.networks["external"]
    found = {
        "ipv4": str(external.cidr.broadcast_address - 1),
        "ipv6": str(external.ipv6.network_address + 0xBAD),
    }
    own = [f"{found['ipv4']}/{external.cidr.prefixlen}", f"{found['ipv6']}/64"]
    for address in own:
        on("client-1", "ip", "address", "replace", address, "dev", external.interface, "nodad")
    yield found
    for address in own:
        on("client-1", "ip", "address", "del", address, "dev", external.interface)


@pytest.fixture
def banned(salt, proxy):
    """banned() -> {source: reason} of who is shut out; nobody afterwards."""

    def ask():
        return {row["source"]: row["reason"] for row in salt("sip-1", f"{proxy.name}.bans")}

    yield ask
    for source in ask():
        salt("sip-1", f"{proxy.name}.unban", source)


@pytest.fixture(scope="module")
def voip():
    """voip("bans", "list") -> its JSON."""

    def run(*words, code=0):
        argv = [str(paths.checkout() / "voip"), *words, "--json"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout) if done.stdout else done.stderr

    return run


# -------------------------------------------------------------------- no open relay


def test_an_unauthenticated_invite_costs_no_query(ask, guest, pillar, compiled, proxy, salt):
    """Whatever it is to, however it is dressed: the pooler passes nothing on meanwhile."""
    domain, own = pillar.site.domain, pillar.hosts["sip-1"].external
    targets = [f"sip:{number}@{domain}" for number in ("1002", "*43", "9999", "+4930123456")]
    targets += ["sip:1002@example.org", f"sip:+4930123456@{own}", "sip:1002@198.18.64.20"]
    dressed = [
        [],
        [f"Route: <sip:{pillar.hosts['pbx-1'].internal}:5061;transport=tls;lr>"],
        ["P-Asserted-Identity: <sip:1002@voip.test>", "X-Voip-Trunk: 192.168.64.30"],
        ['Proxy-Authorization: Digest username="1001", realm="voip.test", nonce="x", uri="sip:x",'
         f' response="{"0" * 32}", qop=auth, nc=00000001, cnonce="a"'],
    ]  # fmt: skip
    requests = [[uri, headers] for uri in targets for headers in dressed]
    port = compiled("sip-1")["pgbouncer"]["port"]
    began, before = time.monotonic(), guest("sip-1", QUERIES, port)["kamailio"]
    found = ask("invites", requests=requests)
    spent = guest("sip-1", QUERIES, port)["kamailio"] - before
    took_s = time.monotonic() - began
    codes = [code for code, _ in found["statuses"]]
    assert set(codes) <= {403, 404, 407}, codes
    assert len(codes) == len(requests)
    # Each proxy's own look for another version of the subscribers, every second.
    print(f"{len(codes)} INVITEs in {took_s:.1f} s, {spent} queries")
    assert spent <= len(PROXIES) * (took_s + 1)
    # The counter counts: a guessed password is a query, where the subscriber is not remembered.
    proxy.forget_subscribers(salt)
    before = guest("sip-1", QUERIES, port)["kamailio"]
    ask("invites", requests=[[targets[0], []], *[[targets[0], ["NONCE"]], [targets[0], []]] * 8])
    assert guest("sip-1", QUERIES, port)["kamailio"] - before >= 8


# -------------------------------------------------------------------- destinations


@pytest.mark.parametrize(
    "number", ["+4930123456", "030123456", "004930123456", "+49900123", "+999", "0", "+"]
)
def test_outside_is_refused_unless_it_is_allowed(number, ask, passwords):
    found = ask("call", user="1001", password=passwords["1001"], to=number, body=SDP)
    assert found["statuses"][-1] == [403, "Destination Not Allowed"]


@pytest.fixture
def row(on, proxy, salt):
    """row("destinations='national'"): what 1003's row says meanwhile; as it was afterwards."""

    def update(values):
        query = f"update subscriber set {values} where username='1003'"  # noqa: S608
        on("devstack", "runuser", "-u", "postgres", "--", "psql", "-XtAc", query, "kamailio")
        proxy.forget_subscribers(salt)

    yield update
    update("destinations='', max_calls=0")


@pytest.mark.parametrize(
    ("number", "last"),
    [
        ("030123456", 404),  # allowed: the PBX has no such number
        ("+4915123456", 403),
        ("+49900123", 403),
    ],
    ids=["national", "mobile", "premium"],
)
def test_the_longest_prefix_says_what_a_subscriber_may_call(number, last, ask, row, passwords):
    row("destinations='europe,national'")
    found = ask("call", user="1003", password=passwords["1003"], to=number, body=SDP)
    assert found["statuses"][-1][0] == last


def test_none_is_less_than_what_the_site_allows(ask, row, passwords):
    row("destinations='none'")
    own = {"user": "1003", "password": passwords["1003"], "body": SDP}
    assert ask("call", to="+4930123456", **own)["statuses"][-1][0] == 403
    assert ask("call", to="*43", hold_s=0, **own)["statuses"][-1][0] == 200


# -------------------------------------------------------------------- limits


def test_calls_at_once(ask, row, passwords):
    """Of four that come together, as many as the row says; when those have ended, the next."""
    row("max_calls=2")
    own = {"user": "1003", "password": passwords["1003"], "to": "*43", "body": SDP}
    with ThreadPoolExecutor(4) as pool:
        each = [pool.submit(ask, "call", hold_s=4, **own) for _ in range(4)]
    last = sorted(item.result()["statuses"][-1] for item in each)
    assert [code for code, _ in last] == [200, 200, 403, 403]
    assert last[-1][1] == "Too Many Concurrent Calls"
    assert ask("call", hold_s=0, **own)["statuses"][-1][0] == 200


def test_calls_at_once_at_both_proxies(ask, row, passwords, compiled, salt):
    """Two at each: of the four as many as the row says, by the PBX's count."""
    row("max_calls=2")
    for item in PROXIES:
        item.forget_subscribers(salt)
    before = _calls_refused(salt)
    ports = [compiled("sip-1")["ports"][item.name]["sip-tls"] for item in PROXIES]
    own = {"user": "1003", "password": passwords["1003"], "to": "*43", "body": SDP}
    with ThreadPoolExecutor(4) as pool:
        each = [pool.submit(ask, "call", hold_s=5, port=port, **own) for port in ports * 2]
    last = sorted(item.result()["statuses"][-1] for item in each)
    assert [code for code, _ in last] == [200, 200, 403, 403]
    assert {words for _, words in last[2:]} == {"Too Many Concurrent Calls"}
    assert _calls_refused(salt) == before + 2
    for port in ports:
        assert ask("call", hold_s=0, port=port, **own)["statuses"][-1][0] == 200


def _calls_refused(salt):
    return sum(salt("sip-1", f"{item.name}.counters").get("calls_refused", 0) for item in PROXIES)


def test_calls_per_minute(ask, passwords, pillar, salt, proxy):
    """Refused ones count too; another subscriber is not concerned."""
    most = pillar.toll.calls.per_minute
    call = {"password": passwords["1003"], "user": "1003", "to": "+999"}
    try:
        found = ask("calls", count=most + 1, pause_s=0.05, **call)["last"]
    finally:
        proxy.forget_calls(salt, "1003")
    assert found[-1] == [480, "Too Many Calls"]
    assert found[0] == [403, "Destination Not Allowed"]
    other = ask("call", user="1002", password=passwords["1002"], to="+999")
    assert other["statuses"][-1] == [403, "Destination Not Allowed"]


# -------------------------------------------------------------------- bans


@pytest.fixture
def told():
    """told(source) -> whether its ban is a security event since."""
    began = time.time()

    def look(source):
        return any(
            entry["kind"] == "source/banned" and f" {source} " in entry["detail"]
            for entry in record.read("security", began)
        )

    return look


def test_guessed_passwords_shut_a_source_out(
    ask, neighbour, voip, banned, pillar, passwords, proxy, told, eventually
):
    source = neighbour["ipv4"]
    most = pillar.toll.auth_failures.source
    found = ask("guess", source=source, count=most + 5, users=["1001", "1002", "9998", "9999"])
    assert found["codes"] == [403] * most + [None]
    (row,) = voip("bans", "list")
    assert (row["source"], row["reason"], row["proxy"]) == (source, "auth", proxy.name)
    assert 0 < row["left_s"] <= pillar.toll.auth_failures.ban_s
    eventually(lambda: told(source), 60)
    # The right password does not help; who comes from elsewhere is not concerned.
    own = {"user": "1003", "password": passwords["1003"]}
    assert ask("register", source=source, timeout_s=1, **own)["failed"]
    assert ask("register", **own)["statuses"][-1][0] == 200
    assert voip("bans", "lift", source)[0]["source"] == source
    assert ask("register", source=source, **own)["statuses"][-1][0] == 200
    assert "not banned" in voip("bans", "lift", source, code=1)


def test_an_ipv6_network_is_shut_out_as_one(ask, neighbour, banned, salt, pillar, proxy):
    most = pillar.toll.auth_failures.source
    guess = {"by_ipv6": True, "users": ["1001", "1002", "9998", "9999"]}
    ask("guess", source=neighbour["ipv6"], count=most, **guess)
    network = str(pillar.networks["external"].ipv6)
    assert banned() == {network: "auth"}
    # Another address of the same network; IPv4 goes on.
    assert ask("request", by_ipv6=True, timeout_s=1)["failed"]
    assert ask("request")["status"] == [200, "OK"]
    assert salt("sip-1", f"{proxy.name}.unban", network) is True
    assert ask("request", by_ipv6=True)["status"] == [200, "OK"]


def test_who_has_proved_himself_goes_on(
    provider, ask, to_proxy, neighbour, banned, pillar, passwords
):
    """A neighbour behind the same address guesses passwords: a registered device is not cut."""
    source = neighbour["ipv4"]
    own = {"user": "1003", "password": passwords["1003"]}
    order = {"do": "register_often"} | to_proxy(source=source, **own)
    provider.put("client-1", "/run/sip_probe.py", PROBE)
    argv = provider.command("client-1", ["python3", "/run/sip_probe.py", json.dumps(order)])
    device = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        ask("guess", source=source, count=pillar.toll.auth_failures.source, pause_s=0.15)
        assert banned() == {source: "auth"}
    finally:
        output, _ = device.communicate(timeout=20)
    report = json.loads(output)
    assert report["failures"] == []
    assert report["done"] > 5


# -------------------------------------------------------------------- connections of a source

# {source: how many connections to these ports were opened, until one was refused or all were}.
CONNECTING = """
import json, resource, socket, sys
order = json.loads(sys.argv[1])
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
held, opened = [], {}
for source, count in order["sources"].items():
    opened[source] = 0
    for number in range(count):
        port = order["ports"][number % len(order["ports"])]
        try:
            held.append(socket.create_connection((order["address"], port), 5, (source, 0)))
        except ConnectionRefusedError:
            break
        opened[source] += 1
print(json.dumps(opened))
"""


def test_a_source_has_so_many_connections_to_both_proxies(on, compiled, pillar, salt, provider):
    """One beyond them is refused, and who comes from elsewhere is not."""
    most, ports = pillar.toll.connections_per_source, compiled("sip-1")["ports"]
    (other,) = outside.sources(pillar, 1)
    first = str(pillar.hosts["client-1"].external)
    order = {
        "address": str(pillar.hosts["sip-1"].external),
        "ports": [ports[proxy.name]["sip-tls"] for proxy in PROXIES],
        "sources": {first: most + 50, other: 10},
    }
    before = salt("sip-1", "voip_firewall.drops").get("too_many", 0)
    with outside.addresses(pillar, provider, "client-1", [other]):
        argv = ["client-1", "python3", "-", json.dumps(order)]
        opened = json.loads(on(*argv, stdin=CONNECTING.encode()))
    tell("fraud", f"connections of one address to both proxies: {opened[first]} of at most {most}")
    assert most - 50 < opened[first] <= most
    assert opened[other] == 10
    assert salt("sip-1", "voip_firewall.drops")["too_many"] > before
