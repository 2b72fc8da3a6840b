"""PostgreSQL in the lab: TLS only, each host's login from that host only, and the pooler."""

import pytest

from tests.lab.guest_python import Login

# Connects with the arguments given; prints [session user, current user, TLS version] or the error.
CONNECT = """
import psycopg
try:
    with psycopg.connect(**arguments[0], connect_timeout=10) as connection:
        row = connection.execute(
            "SELECT session_user::text, current_user::text, 'ok'").fetchone()
        print(json.dumps(row))
except psycopg.Error as error:
    print(json.dumps(str(error)))
"""

# The credential, from the only file that has it.
CREDENTIAL = """
import re
text = open("/etc/pgbouncer/databases.ini").read()
print(json.dumps(re.search(r"user=(\\S+) password=(\\S+)", text).groups()))
"""

VERIFIED = {"sslmode": "verify-full", "sslrootcert": "/etc/voip-stack/tls/ca.crt"}


@pytest.fixture(scope="module")
def login(guest, compiled):
    user, password = guest("sip-1", CREDENTIAL)
    voip = compiled("sip-1")
    return Login(
        host=voip["endpoints"]["postgresql"],
        port=voip["ports"]["postgresql"]["sql"],
        user=user,
        password=password,
        dbname="kamailio",
    )


def test_verified_login_acts_as_the_owner(guest, login):
    # A rotation moves the host from one name to its other.
    assert guest("sip-1", CONNECT, login | VERIFIED) == [login["user"], "kamailio", "ok"]
    assert login["user"] in ("sip-1", "sip-1.b")


def test_cleartext_is_refused(guest, login):
    assert "no encryption" in guest("sip-1", CONNECT, login | {"sslmode": "disable"})


def test_old_tls_is_refused(guest, login):
    old = {"ssl_min_protocol_version": "TLSv1", "ssl_max_protocol_version": "TLSv1.1"}
    assert "SSL error" in guest("sip-1", CONNECT, login | VERIFIED | old)


def test_wrong_password_is_refused(guest, login):
    answer = guest("sip-1", CONNECT, login | VERIFIED | {"password": "guess"})
    assert "password authentication failed" in answer


@pytest.mark.parametrize("change", [{"dbname": "postgres"}, {"user": "postgres"}])
def test_other_databases_and_users_are_refused(change, guest, login):
    assert "no pg_hba.conf entry" in guest("sip-1", CONNECT, login | VERIFIED | change)


def test_the_login_is_good_from_its_host_only(guest, login):
    # By the firewall already; on devstack itself, which that does not concern, by pg_hba.conf.
    assert "failed: " in guest("pbx-1", CONNECT, login | VERIFIED)
    assert "no pg_hba.conf entry" in guest("devstack", CONNECT, login | VERIFIED)


def test_the_server_keeps_verifiers_only(on):
    query = "SELECT count(*) FROM pg_authid WHERE rolpassword NOT LIKE 'SCRAM-SHA-256$%'"
    assert on("devstack", "psql", "-U", "postgres", "-Atc", query).strip() == "0"


def test_pooler_needs_no_password_and_lets_in_its_group_only(provider, on):
    query = [
        "psql",
        "-h",
        "/run/pgbouncer",
        "-p",
        "6432",
        "-U",
        "kamailio",
        "-d",
        "kamailio",
        "-Atc",
    ]
    argv = [*query, "SELECT current_user"]
    member = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--groups=voip-db", *argv]
    stranger = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", *argv]
    assert on("sip-1", *member).strip() == "kamailio"
    refused = provider.run("sip-1", stranger, check=False)
    assert refused.returncode != 0
    assert b"Permission denied" in refused.stderr


@pytest.mark.parametrize(("name", "waits"), [("kamailio", "on"), ("kamailio_locations", "off")])
def test_only_locations_are_committed_without_waiting_for_the_disk(name, waits, on):
    query = ["psql", "-h", "/run/pgbouncer", "-p", "6432", "-U", "kamailio", "-d", name, "-Atc"]
    member = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--groups=voip-db", *query]
    assert on("sip-1", *member, "SHOW synchronous_commit").strip() == waits
