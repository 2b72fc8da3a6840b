"""subscribers.managed against a real PostgreSQL and a real Vault; both are asked afterwards."""

import json
import pathlib
import tempfile

import psycopg
import pytest

from tests.functional.conftest import CHECKOUT
from tests.functional.openbao_server import free_port
from tests.functional.postgresql_server import Server

REALM = "voip.test"
SCHEMA = CHECKOUT / "salt/kamailio/files/schema/001-proxy.sql"


@pytest.fixture(scope="module")
def postgresql():
    with tempfile.TemporaryDirectory(prefix="voip-postgresql-") as path:
        server = Server(pathlib.Path(path), free_port()).start()
        with connect(server, "postgres", autocommit=True) as link:
            link.execute("CREATE DATABASE kamailio")
        yield server
        server.stop()


def connect(server, name="kamailio", **options):
    return psycopg.connect(
        host=str(server.directory), port=server.port, user="postgres", dbname=name, **options
    )


@pytest.fixture
def sip(enrolled, postgresql):
    """sip-1 with an empty schema, and the real socket in the pooler's place."""
    with connect(postgresql) as link:
        link.execute("DROP SCHEMA public CASCADE")
        link.execute("CREATE SCHEMA public")
        link.execute(SCHEMA.read_text())
    host = enrolled("sip-1")
    where = {
        "socket_directory": str(postgresql.directory),
        "port": postgresql.port,
        "name": "kamailio",
        "user": "postgres",
    }
    with host.changed("kamailio:database", where):
        yield host


def declared(sip, *numbers):
    return sip.changed("subscribers", [{"number": item, "name": item} for item in numbers])


def rows(server, columns="username, ha1"):
    with connect(server) as link:
        return link.execute(f"SELECT {columns} FROM subscriber ORDER BY username").fetchall()  # noqa: S608


def password(sip, number):
    """What the Vault holds for a number, None when nothing."""
    import voip_subscribers

    sip.forget()
    return sip.modules.voip_vault.read(voip_subscribers.shard_path(number)).get(number)


def test_made_as_predicted_and_once(sip, postgresql):
    import voip_subscribers

    predicted = sip.states.subscribers.managed(REALM, test=True)
    assert predicted.result is None
    assert rows(postgresql) == []
    made = sip.states.subscribers.managed(REALM)
    assert made.result is True, made.comment
    assert made.changes == predicted.changes
    assert made.changes == {"added": {"count": 3, "sample": ["1001", "1002", "1003"]}}
    for number, ha1 in rows(postgresql):
        word = password(sip, number)
        assert len(word) >= 24
        assert ha1 == voip_subscribers.credentials(number, REALM, word)[0]
        assert word not in json.dumps(made.raw)
        assert word not in postgresql.log()
        assert ha1 not in json.dumps(made.raw)
    for test in (True, False):
        again = sip.states.subscribers.managed(REALM, test=test)
        assert again.result is True
        assert again.changes == {}


def test_nothing_to_do_asks_no_vault(sip):
    assert sip.states.subscribers.managed(REALM).result is True
    with sip.changed("ports:openbao:api", free_port()):
        again = sip.states.subscribers.managed(REALM)
        assert again.result is True, again.comment
        assert again.changes == {}
        with declared(sip, "1001"):
            assert sip.states.subscribers.managed(REALM).result is False


def test_the_schema_is_applied_twice_without_a_change(sip, postgresql):
    sip.states.subscribers.managed(REALM)
    before = rows(postgresql, "*")
    with connect(postgresql) as link:
        link.execute(SCHEMA.read_text())
    assert rows(postgresql, "*") == before


@pytest.mark.parametrize("testmode", [True, False], ids=["test", "apply"])
def test_a_row_changed_by_hand_is_put_right(testmode, sip, postgresql):
    sip.states.subscribers.managed(REALM)
    right = rows(postgresql)
    with connect(postgresql) as link:
        link.execute("UPDATE subscriber SET ha1 = 'forged' WHERE username = '1002'")
        link.execute("INSERT INTO subscriber (username, domain) VALUES ('6666', %s)", [REALM])
    ret = sip.states.subscribers.managed(REALM, test=testmode)
    assert ret.result is (None if testmode else True)
    assert ret.changes == {
        "changed": {"count": 1, "sample": ["1002"]},
        "removed": {"count": 1, "sample": ["6666"]},
    }
    assert (rows(postgresql) == right) is not testmode


def test_a_removed_subscriber_leaves_no_trace(sip, postgresql):
    sip.states.subscribers.managed(REALM)
    kept = password(sip, "1001")
    with connect(postgresql) as link:
        link.execute(
            "INSERT INTO location (ruid, username, contact, expires)"
            " VALUES ('a', '1003', 'sip:x', now()), ('b', '1001', 'sip:y', now())"
        )
    with declared(sip, "1001"):
        ret = sip.states.subscribers.managed(REALM)
        assert ret.changes == {"removed": {"count": 2, "sample": ["1002", "1003"]}}
    assert [row[0] for row in rows(postgresql)] == ["1001"]
    with connect(postgresql) as link:
        assert link.execute("SELECT username FROM location").fetchall() == [("1001",)]
    assert password(sip, "1003") is None
    assert password(sip, "1001") == kept


def test_no_plain_password_fits_into_the_table(sip, postgresql):
    with connect(postgresql) as link, pytest.raises(psycopg.errors.CheckViolation):
        link.execute("INSERT INTO subscriber (username, domain, password) VALUES ('1', 'd', 'p')")


def test_without_the_schema_it_says_what_to_do(sip, postgresql):
    with connect(postgresql) as link:
        link.execute("DROP TABLE subscriber CASCADE")
    ret = sip.states.subscribers.managed(REALM)
    assert ret.result is False
    assert ret.changes == {}
    assert "apply devstack" in ret.comment


def test_without_the_database_it_says_so(sip):
    with sip.changed("kamailio:database:port", free_port()):
        ret = sip.states.subscribers.managed(REALM)
    assert ret.result is False
    assert "does not answer" in ret.comment


def test_ten_thousand_in_seconds(sip, postgresql):
    import time

    numbers = [str(number) for number in range(100_000, 110_000)]
    with declared(sip, *numbers):
        started = time.monotonic()
        ret = sip.states.subscribers.managed(REALM)
        assert time.monotonic() - started < 20
        assert ret.changes["added"]["count"] == 10_000
        started = time.monotonic()
        again = sip.states.subscribers.managed(REALM)
        assert time.monotonic() - started < 2
        assert again.changes == {}
    assert len(rows(postgresql)) == 10_000
