"""subscribers.managed against a real PostgreSQL and a real Vault; both are asked afterwards."""

import json
import pathlib
import sys
import tempfile

import psycopg
import pytest
import voip_subscribers
from salt.exceptions import CommandExecutionError

from tests.functional.conftest import CHECKOUT
from tests.functional.openbao_server import free_port
from tests.functional.postgresql_server import Server
from voip_stack.subscribers import Directory

REALM = "voip.test"
# Of the committed pillar.
NAMES = {"1001": "Reception", "1002": "Workshop", "1003": "Storeroom"}
SCHEMA = sorted((CHECKOUT / "salt/kamailio/files/schema").glob("*.sql"))


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
        apply_schema(link)
    host = enrolled("sip-1")
    where = {
        "socket_directory": str(postgresql.directory),
        "port": postgresql.port,
        "name": "kamailio",
        "user": "postgres",
    }
    with host.changed("kamailio:database", where):
        yield host


def apply_schema(link):
    for file in SCHEMA:
        link.execute(file.read_text())


def declared(sip, *numbers, aliases=None, **settings):
    """These are the subscribers now. settings: {number: {column: value}} as `n1001=dict(...)`."""
    rows = []
    for number in numbers:
        row = dict.fromkeys(voip_subscribers.COLUMNS, "") | {"max_calls": 0, "forward_after_s": 0}
        row |= {"username": number, "state": "active", "display_name": NAMES.get(number, number)}
        row |= settings.get(f"n{number}", {})
        rows.append(tuple(row.values()))
    known = Directory.of(rows, aliases or {}, [], [])
    return sip.changed("subscribers", known.as_dict())


def rows(server, columns="username, ha1"):
    with connect(server) as link:
        return link.execute(f"SELECT {columns} FROM subscriber ORDER BY username").fetchall()  # noqa: S608


def password(sip, number):
    """What the Vault holds for a number, None when nothing."""
    sip.forget()
    document = sip.modules.voip_vault.read(voip_subscribers.shard_path(number))
    return voip_subscribers.passwords(document).get(number)


def test_a_version_changes_with_any_row_and_its_commit(sip, postgresql):
    """What a proxy remembers of subscribers is good for as long as it is the same."""

    def version():
        with connect(postgresql) as link:
            return link.execute("SELECT version FROM subscriber_version").fetchone()[0]

    before = version()
    with connect(postgresql) as link:
        link.execute("UPDATE subscriber SET max_calls = max_calls")
        assert version() == before
    assert version() != before


def test_made_as_predicted_and_once(sip, postgresql):
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
        apply_schema(link)
    assert rows(postgresql, "*") == before


@pytest.mark.parametrize("testmode", [True, False], ids=["test", "apply"])
def test_a_row_changed_by_hand_is_put_right(testmode, sip, postgresql):
    sip.states.subscribers.managed(REALM)
    right = rows(postgresql)
    with connect(postgresql) as link:
        link.execute("UPDATE subscriber SET ha1 = 'forged' WHERE username = '1002'")
        link.execute("INSERT INTO subscriber (username, domain) VALUES ('6666', %s)", [REALM])
    ret = sip.states.subscribers.managed(REALM, owns=True, test=testmode)
    assert ret.result is (None if testmode else True)
    assert ret.changes == {
        "changed": {"count": 1, "sample": ["1002"]},
        "removed": {"count": 1, "sample": ["6666"]},
    }
    assert (rows(postgresql) == right) is not testmode


# Columns of a contact in the table of each proxy.
LOCATIONS = {
    "location": ("ruid, username, contact, expires", "%s::text, %s, 'sip:x', now()"),
    "location_opensips": ("contact_id, username, contact, expires", "%s, %s, 'sip:x', 0"),
}


@pytest.fixture(params=LOCATIONS)
def table(request):
    """Where a proxy keeps its contacts."""
    return request.param


def register(link, table, *numbers):
    columns, values = LOCATIONS[table]
    for number in numbers:
        link.execute(f"INSERT INTO {table} ({columns}) VALUES ({values})", (number, number))  # noqa: S608


def test_a_removed_subscriber_leaves_no_trace(sip, postgresql, table):
    sip.states.subscribers.managed(REALM)
    kept = password(sip, "1001")
    with connect(postgresql) as link:
        register(link, table, "1003", "1001")
    with declared(sip, "1001"):
        predicted = sip.states.subscribers.managed(REALM, test=True)
        ret = sip.states.subscribers.managed(REALM)
        assert (
            predicted.changes
            == ret.changes
            == {
                "removed": {"count": 2, "sample": ["1002", "1003"]},
                "unregistered": {"count": 1, "sample": ["1003"]},
            }
        )
    assert [row[0] for row in rows(postgresql)] == ["1001"]
    with connect(postgresql) as link:
        assert link.execute(f"SELECT username FROM {table}").fetchall() == [("1001",)]  # noqa: S608
    assert password(sip, "1003") is None
    assert password(sip, "1001") == kept


def test_no_plain_password_fits_into_the_table(sip, postgresql):
    with connect(postgresql) as link, pytest.raises(psycopg.errors.CheckViolation):
        link.execute("INSERT INTO subscriber (username, domain, password) VALUES ('1', 'd', 'p')")


def test_rows_of_others_are_left_and_reported(sip, postgresql):
    sip.states.subscribers.managed(REALM)
    with connect(postgresql) as link:
        link.execute("INSERT INTO subscriber (username, domain) VALUES ('6666', %s)", [REALM])
        link.execute(
            "INSERT INTO location (ruid, username, contact, expires)"
            " VALUES ('a', '6666', 'sip:x', now())"
        )
    for _ in range(2):
        ret = sip.states.subscribers.managed(REALM)
        assert (ret.result, ret.changes) == (True, {})
        assert "1 rows that others made are left: 6666" in ret.comment
    with connect(postgresql) as link:
        assert link.execute("SELECT username FROM location").fetchall() == [("6666",)]
    with declared(sip, "1001", "1002", "1003", "6666"):
        ret = sip.states.subscribers.managed(REALM)
        assert ret.changes == {"changed": {"count": 1, "sample": ["6666"]}}
        assert "others" not in sip.states.subscribers.managed(REALM).comment


def test_an_edit_touches_its_row_and_asks_no_vault(sip, postgresql):
    sip.states.subscribers.managed(REALM)
    before = dict(rows(postgresql, "username, xmin::text || ha1"))
    limited = {"max_calls": 2, "destinations": "national", "display_name": 'a "b", c'}
    with (
        sip.changed("ports:openbao:api", free_port()),
        declared(sip, "1001", "1002", "1003", n1002=limited),
    ):
        predicted = sip.states.subscribers.managed(REALM, test=True)
        ret = sip.states.subscribers.managed(REALM)
    assert predicted.changes == ret.changes == {"changed": {"count": 1, "sample": ["1002"]}}
    with (
        sip.changed("ports:openbao:api", free_port()),
        declared(sip, "1001", "1002", "1003"),
    ):
        between = dict(rows(postgresql, "username, xmin::text || ha1"))
        ret = sip.states.subscribers.managed(REALM)
        assert ret.changes == {"changed": {"count": 1, "sample": ["1002"]}}
        assert "statements" in ret.comment
    after = dict(rows(postgresql, "username, xmin::text || ha1"))
    assert [number for number in after if after[number] != between[number]] == ["1002"]
    assert {number: text[-32:] for number, text in after.items()} == {
        number: text[-32:] for number, text in before.items()
    }


def test_a_suspended_subscriber_is_unregistered_and_keeps_its_password(sip, postgresql, table):
    sip.states.subscribers.managed(REALM)
    kept = password(sip, "1002")
    with connect(postgresql) as link:
        register(link, table, "1002")
    with declared(sip, "1001", "1002", "1003", n1002={"state": "suspended"}):
        ret = sip.states.subscribers.managed(REALM)
        assert ret.changes["unregistered"] == {"count": 1, "sample": ["1002"]}
        assert sip.states.subscribers.managed(REALM).changes == {}
    assert dict(rows(postgresql, "username, state"))["1002"] == "suspended"
    with connect(postgresql) as link:
        assert link.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)  # noqa: S608
    assert password(sip, "1002") == kept


def test_aliases_follow(sip, postgresql):
    def aliases():
        with connect(postgresql) as link:
            return dict(link.execute("SELECT alias_username, username FROM dbaliases").fetchall())

    for wanted, changes in (
        ({"+4930111111": "1001", "+4930222222": "1002"}, {"aliases added": 2}),
        ({"+4930111111": "1003"}, {"aliases changed": 1, "aliases removed": 1}),
    ):
        with declared(sip, "1001", "1002", "1003", aliases=wanted):
            predicted = sip.states.subscribers.managed(REALM, test=True)
            ret = sip.states.subscribers.managed(REALM)
            assert predicted.changes == ret.changes
            found = {name: item["count"] for name, item in ret.changes.items() if "ali" in name}
            assert (found, aliases()) == (changes, wanted)


@pytest.mark.parametrize("moment", ["REMOVE", "ADD", "REMEMBER"])
def test_interrupted_leaves_the_table_as_it_was(moment, sip, postgresql, monkeypatch):
    """The session ends in the middle, as it does when the run or its host is killed."""
    sip.states.subscribers.managed(REALM)
    before = rows(postgresql, "*")
    module = sys.modules[sip.modules.subscribers.converge.__wrapped__.__module__]
    with declared(sip, "1001", "1004"):
        statement = getattr(module.sql, moment)
        monkeypatch.setattr(
            module.sql, moment, f"SELECT pg_terminate_backend(pg_backend_pid()); {statement}"
        )
        ret = sip.states.subscribers.managed(REALM)
        assert (ret.result, ret.changes) == (False, {})
        assert rows(postgresql, "*") == before
        monkeypatch.undo()
        ret = sip.states.subscribers.managed(REALM)
        assert ret.result is True
        assert ret.changes["added"] == {"count": 1, "sample": ["1004"]}


def test_a_rotated_password_is_another_and_the_contacts_are_gone(sip, postgresql, table):
    sip.states.subscribers.managed(REALM)
    before, old = dict(rows(postgresql)), password(sip, "1002")
    with connect(postgresql) as link:
        register(link, table, "1002", "1001")
    returned = sip.modules.subscribers.rotate(1002)
    new, after = password(sip, "1002"), dict(rows(postgresql))
    assert new != old
    assert new not in json.dumps(returned)
    assert after == before | {"1002": voip_subscribers.credentials("1002", REALM, new)[0]}
    with connect(postgresql) as link:
        assert link.execute(f"SELECT username FROM {table}").fetchall() == [("1001",)]  # noqa: S608
    assert sip.states.subscribers.managed(REALM).changes == {}
    with pytest.raises(CommandExecutionError, match="not in the database"):
        sip.modules.subscribers.rotate("7777")


def test_a_rotation_that_was_cut_short_is_made_whole_by_the_state(sip, postgresql, monkeypatch):
    sip.states.subscribers.managed(REALM)
    module = sys.modules[sip.modules.subscribers.rotate.__wrapped__.__module__]
    monkeypatch.setattr(module.sql, "RENEW", "SELECT pg_terminate_backend(pg_backend_pid())")
    with pytest.raises(CommandExecutionError):
        sip.modules.subscribers.rotate("1002")
    monkeypatch.undo()
    ret = sip.states.subscribers.managed(REALM)
    assert ret.changes == {"changed": {"count": 1, "sample": ["1002"]}}
    right = voip_subscribers.credentials("1002", REALM, password(sip, "1002"))[0]
    assert dict(rows(postgresql))["1002"] == right


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


def test_passwords_of_an_older_layout_are_kept(sip, postgresql):
    path = voip_subscribers.shard_path("1002")
    sip.forget()
    sip.modules.voip_vault.write(path, {"1002": "of-an-older-layout"})
    sip.states.subscribers.managed(REALM)
    right = voip_subscribers.credentials("1002", REALM, "of-an-older-layout")[0]
    assert dict(rows(postgresql))["1002"] == right
    sip.modules.subscribers.rotate("1002")
    assert set(sip.modules.voip_vault.read(path)) == {"passwords"}


def test_more_to_a_document_than_the_vault_takes_strings(sip, postgresql):
    """A document's share of 150,000, which is past the 1000 strings that OpenBao takes."""
    path = voip_subscribers.shard_path("100000")
    numbers = [str(item) for item in range(100_000, 300_000)]
    group = voip_subscribers.by_shard(numbers)[path][:1200]
    with declared(sip, *group):
        ret = sip.states.subscribers.managed(REALM)
        assert ret.result is True, ret.comment
    assert len(rows(postgresql)) == 1200


@pytest.fixture
def plans(postgresql):
    """plans() -> the plans of what was executed since, by the server's own log."""
    settings = {
        "session_preload_libraries": "auto_explain",
        "auto_explain.log_min_duration": "0",
        "auto_explain.log_nested_statements": "on",
    }
    with connect(postgresql, "postgres", autocommit=True) as link:
        for name, value in settings.items():
            link.execute(f"ALTER DATABASE kamailio SET {name} = '{value}'")
    began = len(postgresql.log())
    yield lambda: postgresql.log()[began:]
    with connect(postgresql, "postgres", autocommit=True) as link:
        link.execute("ALTER DATABASE kamailio RESET ALL")


def test_statistics_of_before_a_load_make_no_row_read_all_others(sip, postgresql, plans):
    """An ANALYZE during a load counts what is committed: a row in a table of many pages. With a
    nested loop 20,000 rows took 31 s, and five times as many 25 times as long."""
    numbers = [str(number) for number in range(100_000, 102_000)]
    with declared(sip, numbers[0]):
        sip.states.subscribers.managed(REALM)
    with connect(postgresql) as loading, connect(postgresql, autocommit=True) as other:
        loading.execute(
            "INSERT INTO subscriber (username, domain, managed)"
            " SELECT number, %s, true FROM unnest(%s::text[]) number",
            [REALM, numbers[1:]],
        )
        other.execute("ANALYZE subscriber")
        known = "SELECT reltuples FROM pg_class WHERE relname = 'subscriber'"
        assert other.execute(known).fetchone() == (1,)
    with declared(sip, *numbers, "102000"):
        ret = sip.states.subscribers.managed(REALM)
    assert ret.result is True, ret.comment
    assert ret.changes["added"]["count"] == 1
    found = [plan for plan in plans().split("Query Text") if "wanted w" in plan]
    assert len(found) >= 4
    assert [plan for plan in found if "Nested Loop" in plan] == []


def test_ten_thousand_at_once(sip, postgresql):
    numbers = [str(number) for number in range(100_000, 110_000)]
    with declared(sip, *numbers):
        ret = sip.states.subscribers.managed(REALM)
        assert ret.changes["added"]["count"] == 10_000
        assert sip.states.subscribers.managed(REALM).changes == {}
    assert len(rows(postgresql)) == 10_000
