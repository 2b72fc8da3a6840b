"""voip_database against a real PostgreSQL and a real Vault."""

import json

import psycopg
import pytest

DATABASES = {"kamailio": ["sip-1"]}


@pytest.fixture(scope="module")
def host_options(postgresql_directory, postgresql_port):
    return {"voip_postgresql": {"socket": str(postgresql_directory), "port": postgresql_port}}


@pytest.fixture
def password(provisioned):
    return provisioned.modules.voip_vault_admin.read("hosts/sip-1/postgresql")["password"]


def login(server, password, database="kamailio"):
    return psycopg.connect(
        host="127.0.0.1", port=server.port, user="sip-1", password=password, dbname=database
    )


def test_test_mode_without_a_server_predicts_all(provisioned):
    ret = provisioned.states.voip_database.present("postgresql", databases=DATABASES, test=True)
    assert ret.result is None
    assert "database kamailio" in ret.changes


def test_unreachable_is_said(provisioned):
    ret = provisioned.states.voip_database.present("postgresql", databases=DATABASES)
    assert ret.result is False
    assert "PostgreSQL does not let us in" in str(ret.comment)


def test_made_as_predicted_and_once(provisioned, postgresql, password):
    predicted = provisioned.states.voip_database.present("pg", databases=DATABASES, test=True)
    made = provisioned.states.voip_database.present("pg", databases=DATABASES)
    assert made.result is True, made.comment
    assert made.changes == predicted.changes
    assert password not in json.dumps(made.raw)
    for test in (True, False):
        again = provisioned.states.voip_database.present("pg", databases=DATABASES, test=test)
        assert again.result is True
        assert again.changes == {}
    with login(postgresql, password) as connection:
        assert connection.execute("SELECT session_user, current_user").fetchone() == (
            "sip-1",
            "kamailio",
        )


def test_login_may_enter_its_own_database_only(postgresql, provisioned, password):
    with login(postgresql, password) as connection:
        connection.execute("SELECT 1")
    with psycopg.connect(
        host=str(postgresql.directory), port=postgresql.port, user="postgres", dbname="postgres",
        autocommit=True,
    ) as root:  # fmt: skip
        root.execute("CREATE DATABASE other")
        root.execute("REVOKE ALL ON DATABASE other FROM PUBLIC")
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        login(postgresql, password, "other")


def test_password_set_by_hand_is_put_right(provisioned, postgresql, password):
    with psycopg.connect(
        host=str(postgresql.directory), port=postgresql.port, user="postgres", dbname="postgres"
    ) as root:
        root.execute("ALTER ROLE \"sip-1\" PASSWORD 'guess'")
    ret = provisioned.states.voip_database.present("pg", databases=DATABASES)
    assert ret.changes == {"password of sip-1": {"old": "another", "new": "set"}}
    login(postgresql, password).close()


def test_no_password_reaches_the_server(provisioned, postgresql, password):
    assert password not in postgresql.log()
    with psycopg.connect(
        host=str(postgresql.directory), port=postgresql.port, user="postgres", dbname="postgres"
    ) as root:
        verifier = root.execute(
            "SELECT rolpassword FROM pg_authid WHERE rolname = 'sip-1'"
        ).fetchone()[0]
    assert verifier.startswith("SCRAM-SHA-256$")


def test_schema_is_applied_once_as_the_owner(provisioned, postgresql, password):
    source = provisioned.pillar["postgresql"]["databases"]["kamailio"]["schema_files"]
    predicted = provisioned.states.voip_database.schema("kamailio", source=source, test=True)
    assert predicted.result is None
    made = provisioned.states.voip_database.schema("kamailio", source=source)
    assert made.result is True, made.comment
    assert made.changes == predicted.changes
    for test in (True, False):
        assert (
            provisioned.states.voip_database.schema("kamailio", source=source, test=test).changes
            == {}
        )
    with login(postgresql, password) as connection:
        owners = connection.execute(
            "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"
        ).fetchall()
    assert owners == [("kamailio",)]


def test_edited_schema_file_is_refused(provisioned, postgresql):
    files = {"001-proxy.sql": "CREATE TABLE other (id INTEGER)"}
    with pytest.raises(Exception, match="was edited after it was applied"):
        provisioned.modules.voip_postgresql.schema_difference("kamailio", files)


def test_failing_schema_file_leaves_nothing(provisioned, postgresql):
    files = {"900-broken.sql": "CREATE TABLE half (id INTEGER); SELECT no_such_function()"}
    with pytest.raises(Exception, match="no_such_function"):
        provisioned.modules.voip_postgresql.apply_schema("kamailio", files)
    assert provisioned.modules.voip_postgresql.schema_difference("kamailio", files) == {
        "900-broken.sql": "new"
    }
