"""OpenSIPS of the package with the routing of the tree: its parser, and the daemon on loopback."""

import socket
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg
import pytest
from salt.exceptions import CommandExecutionError

from voip_stack.packages import local
from voip_stack.pillar import load

CHECKOUT = Path(__file__).parents[2]
sys.path[:0] = [str(CHECKOUT / name) for name in ("_utils", "_modules")]

import opensips as control  # noqa: E402
import voip_subscribers  # noqa: E402

from tests.functional.openbao_server import free_port  # noqa: E402
from tests.functional.opensips_daemon import IDLE_S, INSIDE, OUTSIDE, Daemon  # noqa: E402
from tests.functional.postgresql_server import Server  # noqa: E402
from tests.lab import sip_probe  # noqa: E402

SUITE = "bookworm"
# Debian's, for cachedb_redis: what a machine with a lab does not have itself.
LIBRARIES = ("libhiredis0.14",)
SCHEMA = CHECKOUT / "salt/kamailio/files/schema"
DOMAIN, NUMBER, PASSWORD = "voip.test", "1001", "of nobody else"
RELOADS = 105
LONG = "X-Long: " + "x" * 20000


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The local directory's packages, unpacked; without them the test fails, it never skips."""
    arch = subprocess.check_output(["dpkg", "--print-architecture"], text=True).strip()
    directory = local.directory(None, SUITE, arch)
    packages = sorted(directory.glob(f"opensips*_{arch}.deb")) if directory else []
    if not packages:
        pytest.fail("no package opensips here: set VOIP_LOCAL_DEBS", pytrace=False)
    root, fetched = tmp_path_factory.mktemp("opensips"), tmp_path_factory.mktemp("libraries")
    subprocess.run(["apt-get", "-q", "download", *LIBRARIES], cwd=fetched, check=True)
    for item in [*packages, *fetched.glob("*.deb")]:
        subprocess.run(["dpkg", "-x", item, root], check=True)
    (libraries,) = root.glob("usr/lib/*-linux-gnu*")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LD_LIBRARY_PATH", str(libraries))
        yield root


@pytest.fixture(scope="module")
def host_options(package):
    return {"opensips_root": str(package)}


# -------------------------------------------------------------------- the parser


@pytest.fixture
def laid(make_host, tmp_path):
    """laid(name=text): the routing in a directory, with some files' text changed; returns it."""
    sip = make_host("sip-1")
    settings = load(CHECKOUT / "pillar").opensips.model_dump(mode="json")
    voip = sip.pillar | {"opensips": settings}

    def lay(**changed):
        files = sip.modules.opensips.routing_files("salt://opensips/files", voip)
        for name, text in (files | changed).items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return lambda: sip.modules.opensips.check_config(str(tmp_path))

    return lay


def test_the_rendered_routing_is_taken(laid):
    assert laid()() is True


def test_a_broken_one_is_refused_with_file_line_and_reason(laid):
    check = laid(**{"routes/auth.cfg": "route[AUTH] {\n\tno_such_function();\n}\n"})
    with pytest.raises(CommandExecutionError, match=r"routes/auth\.cfg:2:.*no_such_function"):
        check()


# -------------------------------------------------------------------- the daemon


@pytest.fixture(scope="module")
def database():
    with tempfile.TemporaryDirectory(prefix="voip-postgresql-") as path:
        server = Server(Path(path), free_port()).start()
        with _connect(server, "postgres", autocommit=True) as link:
            link.execute("CREATE DATABASE kamailio")
        with _connect(server) as link:
            for file in sorted(SCHEMA.glob("*.sql")):
                link.execute(file.read_text())
            digests = voip_subscribers.credentials(NUMBER, DOMAIN, PASSWORD)
            link.execute(
                "INSERT INTO subscriber (username, domain, ha1, ha1b, ha1_sha256)"
                " VALUES (%s, %s, %s, %s, %s)",
                (NUMBER, DOMAIN, *digests),
            )
        yield server
        server.stop()


def _connect(server, name="kamailio", **options):
    return psycopg.connect(
        host=str(server.directory), port=server.port, user="postgres", dbname=name, **options
    )


@pytest.fixture(scope="module")
def daemon(package, database, tmp_path_factory):
    running = Daemon(package, tmp_path_factory.mktemp("daemon"), database).start()
    yield running
    running.stop()


@pytest.fixture
def link(daemon):
    """link(transport, address, **options): a connection to the daemon."""
    made = []
    ports = {"tls": "sip-tls", "wss": "wss", "udp": "sip-udp", "tcp": "sip-tcp", "ws": "ws"}

    def connect(transport="tls", address=OUTSIDE, **options):
        secure = {"server_name": "sip-1.voip.test", "ca": daemon.authority.pem}
        more = secure if transport in ("tls", "wss") else {}
        port = daemon.ports[ports[transport]]
        options = {"source": address} | more | options
        made.append(sip_probe.Link(transport, address, port, **options))
        return made[-1]

    yield connect
    for item in made:
        item.socket.close()


@pytest.fixture
def own(daemon, tmp_path):
    """The pair of a host of the internal network."""
    paths = []
    for name, text in zip(("crt", "key"), daemon.authority.pair("sip-1.voip.test"), strict=True):
        (tmp_path / name).write_text(text)
        paths.append(str(tmp_path / name))
    return paths


@pytest.mark.parametrize("transport", ["tls", "wss"])
def test_who_knows_the_password_is_registered(transport, link, database):
    device = link(transport)
    found = sip_probe.do_register(device, DOMAIN, NUMBER, PASSWORD)
    assert [code for code, _ in found["statuses"]] == [401, 200]
    assert found["tls"][0] == "TLSv1.3"
    received = [row["received"] for row in control.registrations(NUMBER)]
    assert any(device.local in uri for uri in received)
    with _connect(database) as rows:
        stored = rows.execute("SELECT received FROM location_opensips").fetchall()
    assert {uri for (uri,) in stored} >= set(received)
    mine = [row for row in control.connections() if row["remote"] == device.local]
    assert [[row["tls"], row["cipher"]] for row in mine] == [found["tls"]]


@pytest.mark.parametrize(
    ("user", "password", "from_user", "last"),
    [
        (NUMBER, "wrong", None, [403, "Forbidden"]),
        ("1999", PASSWORD, None, [403, "Forbidden"]),
        (NUMBER, PASSWORD, "1002", [403, "Forbidden"]),
    ],
    ids=["wrong password", "unknown user", "somebody else's name"],
)
def test_who_does_not_is_refused_in_the_same_words(link, user, password, from_user, last):
    found = sip_probe.do_register(link(), DOMAIN, user, password, from_user=from_user)
    assert found["statuses"][0][0] == 401
    assert found["statuses"][-1] == last


def test_the_name_is_that_of_the_password(link):
    """Not that of other credentials, which nobody checks."""
    refused = [403, "Forbidden"]
    beside = {"from_user": "1002", "beside": "1002"}
    found = sip_probe.do_register(link(), DOMAIN, NUMBER, PASSWORD, **beside)
    assert found["statuses"][-1] == refused
    assert control.registrations("1002") == []
    called = sip_probe.do_call(link(), DOMAIN, NUMBER, PASSWORD, **beside)
    assert called["statuses"][-1][0] in (403, 407)


def test_a_nonce_serves_once(link):
    found = sip_probe.do_register(link(), DOMAIN, NUMBER, PASSWORD, replay=True)
    assert [code for code, _ in found["statuses"]] == [401, 200, 401]


@pytest.mark.parametrize("transport", ["udp", "tcp", "ws"])
def test_cleartext_is_refused_with_an_answer(transport, link):
    before = control.counters().get("cleartext_refused", 0)
    found = sip_probe.do_request(link(transport), DOMAIN)
    assert found["status"] == [403, "TLS Required"]
    assert "TLS required: port" in found["warning"]
    assert control.counters()["cleartext_refused"] == before + 1


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"uri": f"sip:{DOMAIN}"}, [200, "OK"]),
        ({"uri": f"sip:{DOMAIN}", "max_forwards": 0}, [483, "Too Many Hops"]),
        ({"uri": f"sip:{DOMAIN}", "headers": [LONG]}, [513, "Message Too Large"]),
        ({"method": "INVITE", "uri": "sip:1002@elsewhere.test"}, [403, "Relaying Denied"]),
        ({"method": "INVITE", "uri": f"sip:nobody@{DOMAIN}"}, [404, "Not Found"]),
        ({"method": "PUBLISH", "uri": f"sip:1002@{DOMAIN}"}, [405, "Method Not Allowed"]),
    ],
    ids=["alive", "hops", "too large", "another domain", "no number", "method"],
)  # fmt: skip
def test_what_a_stranger_is_answered(link, options, status):
    assert sip_probe.do_request(link(), DOMAIN, **options)["status"] == status


def test_a_scanner_gets_no_answer(link):
    stranger = link()
    stranger.socket.settimeout(1)
    with pytest.raises(TimeoutError):
        sip_probe.do_request(stranger, DOMAIN, headers=["User-Agent: friendly-scanner"])


def test_the_inside_is_for_hosts_of_ours(link, own):
    with pytest.raises((ssl.SSLError, ConnectionError)):
        sip_probe.do_request(link("tls", INSIDE), DOMAIN)
    ours = link("tls", INSIDE, client=own)
    assert sip_probe.do_request(ours, DOMAIN)["status"] == [200, "OK"]
    # Its name is not the PBX's: it is heard, and may not call.
    refused = sip_probe.do_request(ours, DOMAIN, method="INVITE", uri=f"sip:1001@{DOMAIN}")
    assert refused["status"] == [403, "Not A Peer"]


def test_a_hundred_reloads_under_a_connection(daemon, link):
    """Each with another certificate, which the next connection is shown; the held one goes on."""
    held = link()
    sip_probe.do_register(held, DOMAIN, NUMBER, PASSWORD)  # else it would soon be closed
    for number in range(RELOADS):
        wanted = daemon.renew()
        control.mi("tls_reload", timeout_s=15)
        if number % 20 == 0:
            shown = ssl.DER_cert_to_PEM_cert(link().socket.getpeercert(True))
            assert shown.split() == wanted.split()
    assert daemon.is_running
    assert sip_probe.do_request(held, DOMAIN)["status"] == [200, "OK"]


@pytest.mark.parametrize("said", ["nothing", "half a handshake", "one message"])
def test_a_connection_by_which_nobody_is_registered_ends(daemon, link, said):
    if said == "one message":
        held = link()
        sip_probe.do_request(held, DOMAIN)
        local, stranger = held.local, held.socket
    else:
        stranger = socket.create_connection((OUTSIDE, daemon.ports["sip-tls"]))
        local = "{}:{}".format(*stranger.getsockname())
        if said == "half a handshake":
            stranger.sendall(bytes([22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]))
    stranger.settimeout(4 * IDLE_S)
    began = time.monotonic()
    assert stranger.recv(1) == b""
    assert time.monotonic() - began > IDLE_S - 2
    assert local not in [row["remote"] for row in control.connections()]


def test_a_contact_goes_with_its_connection(link):
    """Unless it was registered by another one meanwhile."""
    control.unregister(NUMBER)
    first, second = link(), link()
    own, second.local = first.local, first.local  # the same Contact
    for device in (first, second):
        sip_probe.do_register(device, DOMAIN, NUMBER, PASSWORD)
    (before,) = control.registrations(NUMBER)
    assert own in before["contact"]
    assert own not in before["received"]
    first.socket.close()
    until(lambda: own not in [row["remote"] for row in control.connections()])
    time.sleep(0.5)
    (after,) = control.registrations(NUMBER)
    assert after["received"] == before["received"]
    second.socket.close()
    until(lambda: not control.registrations(NUMBER))


def until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_restart_loses_no_registration(daemon, link):
    device = link()
    sip_probe.do_register(device, DOMAIN, NUMBER, PASSWORD)
    before = {row["received"] for row in control.registrations(NUMBER)}
    daemon.kill()
    daemon.start()
    # They are read by a process that starts beside those that listen.
    until(lambda: control.registrations(NUMBER))
    assert {row["received"] for row in control.registrations(NUMBER)} == before
    assert control.unregister(NUMBER) is True
    assert control.registrations(NUMBER) == []


# -------------------------------------------------------------------- subscribers remembered


@pytest.fixture
def queries(database):
    """queries() -> how many statements asked for a subscriber's row since the last time."""
    with _connect(database, "postgres", autocommit=True) as link:
        link.execute("ALTER SYSTEM SET log_statement = 'all'")
        link.execute("SELECT pg_reload_conf()")
    seen = 0

    def count():
        nonlocal seen
        time.sleep(0.2)
        found = database.log().count(" from subscriber where username=")
        seen, new = found, found - seen
        return new

    time.sleep(0.3)
    count()
    yield count
    with _connect(database, "postgres", autocommit=True) as link:
        link.execute("ALTER SYSTEM RESET log_statement")
        link.execute("SELECT pg_reload_conf()")


def registered(link, password=PASSWORD, user=NUMBER):
    return sip_probe.do_register(link(), DOMAIN, user, password)["statuses"][-1][0]


def test_a_subscriber_is_asked_for_once(link, queries):
    """A wrong password costs a query all the same, as a number that nobody has."""
    control.forget_subscribers()
    assert [registered(link) for _ in range(3)] == [200] * 3
    assert queries() == 1
    assert registered(link, "wrong") == registered(link, "wrong", "1999") == 403
    assert queries() == 2
    assert registered(link) == 200


def test_a_changed_row_counts_within_seconds(link, database):
    """Whoever changes it."""
    assert registered(link) == 200
    digests = voip_subscribers.credentials(NUMBER, DOMAIN, "another")
    former = voip_subscribers.credentials(NUMBER, DOMAIN, PASSWORD)
    statement = "UPDATE subscriber SET ha1 = %s, ha1b = %s, ha1_sha256 = %s"
    try:
        with _connect(database) as rows:
            rows.execute(statement, digests)
        time.sleep(2.5)
        assert registered(link) == 403
        assert registered(link, "another") == 200
    finally:
        with _connect(database) as rows:
            rows.execute(statement, former)
        control.forget_subscribers()
    assert registered(link) == 200


@pytest.mark.parametrize("name", ["x' or '1'='1", "x\\' or 1=1 --", "x' union select '", "1001 "])
def test_a_name_is_no_statement(link, name, daemon):
    """Neither is it let in, nor does the database find fault with it."""
    before = (daemon.room / "log").read_text().count("ERROR:db_postgres")
    found = sip_probe.do_register(link(), DOMAIN, name, PASSWORD, from_user=NUMBER)
    assert found["statuses"][-1][0] in (400, 403)
    assert (daemon.room / "log").read_text().count("ERROR:db_postgres") == before


def test_a_row_without_a_digest_is_nobodys(link, row):
    row("ha1=''")
    try:
        assert registered(link) == 403
    finally:
        digest = voip_subscribers.credentials(NUMBER, DOMAIN, PASSWORD)[0]
        row(f"ha1='{digest}'")
    assert registered(link) == 200


# -------------------------------------------------------------------- what a subscriber may cost


@pytest.fixture
def call(link):
    """call(number) -> the last answer, with the right password. No PBX is here: 503 is let in."""

    def invite(number):
        control.mi("cache_remove", system="local:callrate", attr=NUMBER)
        return sip_probe.do_call(link(), DOMAIN, NUMBER, PASSWORD, to=number)["statuses"][-1]

    return invite


@pytest.fixture
def row(database):
    """row("max_calls=2"): what the subscriber's row says meanwhile."""

    def update(values):
        with _connect(database) as link:
            link.execute(f"UPDATE subscriber SET {values}")  # noqa: S608
        control.forget_subscribers()

    yield update
    update("destinations='', max_calls=0")


NO_PBX, NOT_ALLOWED = [503, "No PBX Available"], [403, "Destination Not Allowed"]


@pytest.mark.parametrize(
    ("destinations", "number", "last"),
    [
        ("europe,national", "030123456", NO_PBX),
        ("europe,national", "004930123456", NO_PBX),
        ("europe,national", "+4915123456", NOT_ALLOWED),
        ("europe,national", "+999", NOT_ALLOWED),
        ("nation", "+4930123456", NOT_ALLOWED),
        ("", "+4930123456", NOT_ALLOWED),
        ("none", "1002", NO_PBX),
        ("none", "*43", NO_PBX),
    ],
)
def test_the_longest_prefix_says_what_may_be_called(call, row, destinations, number, last):
    row(f"destinations='{destinations}'")
    assert call(number) == last


def test_classes_are_read_again(call, row, daemon):
    row("destinations='far'")
    assert call("+87212345") == NOT_ALLOWED
    former = daemon.voip["toll"]["destinations"]
    time.sleep(1.1)  # db_text looks at whole seconds
    daemon.tables(destinations={"far": ["+872"]})
    control.reload_tables(["tables/destination"])
    assert call("+87212345") == NO_PBX
    time.sleep(1.1)
    daemon.tables(destinations=former)
    control.reload_tables(["tables/destination"])
    assert call("+87212345") == NOT_ALLOWED


def test_a_call_that_came_to_nothing_is_none(call):
    """One at once is allowed."""
    assert [call("1002") for _ in range(3)] == [NO_PBX] * 3


def test_calls_per_minute(link, daemon):
    most = daemon.voip["toll"]["calls"]["per_minute"]
    control.mi("cache_remove", system="local:callrate", attr=NUMBER)
    found = sip_probe.do_calls(
        link(), DOMAIN, count=most + 1, user=NUMBER, password=PASSWORD, to="+999"
    )["last"]
    assert found == [NOT_ALLOWED] * most + [[480, "Too Many Calls"]]
    assert control.counters()["rate_refused"] == 1


# -------------------------------------------------------------------- bans


def test_guessed_passwords_shut_a_source_out(link, daemon):
    """Of a user after some, of the source after more; who has proved himself goes on."""
    failures = daemon.voip["toll"]["auth_failures"]
    source = "127.0.0.7"
    proved = link(source=source)
    own = (DOMAIN, NUMBER, PASSWORD)
    assert sip_probe.do_register(proved, *own)["statuses"][-1][0] == 200
    users = ["9996", "9997", "9998", "9999"]
    found = sip_probe.do_guess(link(source=source), DOMAIN, failures["source"] + 5, users)
    assert found["codes"] == [403] * failures["source"] + [None]
    (ban,) = control.bans()
    assert (ban["source"], ban["reason"]) == (source, "auth")
    assert 0 < ban["left_s"] <= failures["ban_s"]
    stranger = link(source=source)
    stranger.socket.settimeout(1)
    with pytest.raises(TimeoutError):
        sip_probe.do_request(stranger, DOMAIN)
    assert sip_probe.do_register(proved, *own)["statuses"][-1][0] == 200
    assert sip_probe.do_request(link(), DOMAIN)["status"] == [200, "OK"]
    assert control.unban(source) is True
    assert control.unban(source) is False
    assert sip_probe.do_register(link(source=source), *own)["statuses"][-1][0] == 200


def test_a_flood_is_dropped_for_a_while(link, daemon):
    stranger = link()
    request = sip_probe.build(stranger, "OPTIONS", f"sip:{DOMAIN}", NUMBER, DOMAIN)
    for _ in range(20 * daemon.voip["routing"]["pike"]["requests"]):
        stranger.send(request)
    stranger = link()
    stranger.socket.settimeout(1)
    with pytest.raises(TimeoutError):
        sip_probe.do_request(stranger, DOMAIN)
    assert [(row["source"], row["reason"]) for row in control.bans()] == [(OUTSIDE, "flood")]
    assert control.unban(OUTSIDE) is True
    assert control.bans() == []


# -------------------------------------------------------------------- registrations past the rate


def test_registrations_past_the_rate_of_a_source_get_a_turn(link, daemon):
    """Some for each second that passes; the others are told when to come back, in turn."""
    allowed = daemon.voip["routing"]["registrations"]
    most, count = allowed["per_source"], 5 * allowed["per_source"]
    source, shed = "127.0.0.8", control.counters()["registrations_shed"]
    crowd = link(source=source)
    began = time.monotonic()
    for _ in range(count):
        crowd.send(sip_probe.build(crowd, "REGISTER", f"sip:{DOMAIN}", NUMBER, DOMAIN))
    replies = [crowd.final() for _ in range(count)]
    seconds = time.monotonic() - began
    codes = [sip_probe.status(reply)[0] for reply in replies]
    assert most <= codes.count(401) <= most * (seconds + 2)
    waits = [
        int(sip_probe.header(reply, "Retry-After")) for reply in replies if " 503 " in reply[:13]
    ]
    assert len(waits) == codes.count(503) == count - codes.count(401)
    assert control.counters()["registrations_shed"] == shed + len(waits)
    assert min(waits) >= 1
    # Behind the last one are the turns of all before it.
    assert (len(waits) - 1) // most < max(waits) <= len(waits) // most + 1 + allowed["spread_s"]
    assert control.bans() == []
    assert sip_probe.do_request(crowd, DOMAIN)["status"] == [200, "OK"]
    other = sip_probe.do_register(link(source="127.0.0.9"), DOMAIN, NUMBER, PASSWORD)
    assert [code for code, _ in other["statuses"]] == [401, 200]


def test_no_turn_is_further_away_than_the_longest_wait(link, daemon):
    allowed = daemon.voip["routing"]["registrations"]
    source = "127.0.0.10"
    for queue in (f"register/{source}", f"answer/{source}"):
        turn = f"{int(time.time()) + allowed['longest_wait_s'] + 5} 0"
        control.mi("cache_store", system="local:turn", attr=queue, value=turn)
    crowd = link(source=source)
    for _ in range(3 * allowed["per_source"]):
        crowd.send(sip_probe.build(crowd, "REGISTER", f"sip:{DOMAIN}", NUMBER, DOMAIN))
    replies = [crowd.final() for _ in range(3 * allowed["per_source"])]
    waits = [
        int(sip_probe.header(reply, "Retry-After")) for reply in replies if " 503 " in reply[:13]
    ]
    assert waits
    assert (
        allowed["longest_wait_s"]
        < max(waits)
        <= allowed["longest_wait_s"] + 6 + allowed["spread_s"]
    )
