"""A rotation against a real Vault and a real PostgreSQL, cut off after each of its steps.

Between any two steps the server's states are applied as an operator might: they must change what
the phase wants and nothing else, and at every moment what a client reads in the Vault lets it in.
"""

import json

import psycopg
import pytest
import voip_credentials

DATABASES = {"kamailio": ["sip-1"]}
PATH = "hosts/sip-1/postgresql"


@pytest.fixture(scope="module")
def host_options(postgresql_directory, postgresql_port):
    """The test's server has no TLS: the lab proves that part."""
    where = {"socket": str(postgresql_directory), "host": "127.0.0.1", "port": postgresql_port}
    return {"voip_postgresql": where | {"sslmode": "disable"}}


@pytest.fixture
def converged(provisioned, postgresql):
    ret = provisioned.states.voip_database.present("pg", databases=DATABASES)
    assert ret.result is True, ret.comment
    return provisioned


def read(devstack):
    devstack.forget()
    return devstack.modules.voip_vault_admin.read(PATH)


def connect(server, pair):
    return psycopg.connect(
        host="127.0.0.1", port=server.port, dbname="kamailio",
        user=pair["username"], password=pair["password"], autocommit=True,
    )  # fmt: skip


def is_in(server, pair):
    try:
        connect(server, pair).close()
    except psycopg.OperationalError as error:
        return "authentication failed" not in str(error)  # anything else fails what was asserted
    return True


def do(devstack, step):
    """What the runner has the provisioning host do in `step`."""
    if step in ("accept", "revoke"):
        ret = devstack.states.voip_database.present("pg", databases=DATABASES)
        assert ret.result is True, ret.comment
        return json.dumps(ret.raw)
    if step in ("offer", "switch", "retire", "finish"):
        return json.dumps(devstack.modules.voip_rotation.advance("sip-1", "postgresql", step))
    return ""


def test_cut_off_after_each_step_it_goes_on_and_clients_are_never_locked_out(converged, postgresql):
    first, seen = read(converged), set()
    steps = [name for name, _ in voip_credentials.STEPS]
    for step in steps:
        said = do(converged, step)
        document = read(converged)
        seen |= {document[key] for key in document if key.endswith("password")}
        assert not any(word in said for word in seen)
        assert is_in(postgresql, voip_credentials.pair(document)), step
        # A crash here: what is left is told by the Vault alone, and begins with the next step.
        left = voip_credentials.remaining(voip_credentials.phase(document), is_due=False)
        assert left[-1:] in (["finish"], [])
        undone = steps[steps.index(step) + 1 :]
        assert left[-len(undone) :] == undone or not undone
        # And what was done before can be done again.
        repeated = [name for name in left if name not in undone and "prove" not in name]
        for name in repeated:
            do(converged, name)
            assert is_in(postgresql, voip_credentials.pair(read(converged))), (step, name)
        assert converged.states.voip_database.present("pg", databases=DATABASES).result is True
    last = read(converged)
    assert len(seen) == 2
    assert last["password"] != first["password"]
    assert set(last) == {"username", "password", "made"}
    assert not is_in(postgresql, first)
    assert is_in(postgresql, last)


def test_a_second_rotation_takes_the_first_name_back(converged, postgresql):
    before = read(converged)
    for step, _ in voip_credentials.STEPS:
        do(converged, step)
    after = read(converged)
    assert {before["username"], after["username"]} == set(voip_credentials.names("sip-1"))
    assert is_in(postgresql, after)
    assert not is_in(postgresql, before)


def test_states_change_nothing_between_the_phases_and_generated_keeps_the_name(
    converged, postgresql
):
    for step, _ in voip_credentials.STEPS:
        do(converged, step)
        if step in ("offer", "retire"):
            continue  # what the server is to do about it comes next
        for test in (True, False):
            ret = converged.states.voip_database.present("pg", databases=DATABASES, test=test)
            assert ret.changes == {}, step
            assert converged.states.voip_vault.generated("hosts", test=test).changes == {}, step


def test_leftover_sessions_end_with_the_old_login(converged, postgresql):
    with connect(postgresql, voip_credentials.pair(read(converged))) as session:
        for step, _ in voip_credentials.STEPS:
            if step == "retire":
                session.execute("SELECT 1")
                assert converged.modules.voip_postgresql.drain("sip-1", timeout_s=0.2) == 1
            do(converged, step)
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")


def test_two_at_once_one_is_refused(converged):
    session = converged.modules.voip_vault.session("provision")
    before = session.read(f"voip/data/{PATH}")
    converged.modules.voip_rotation.advance("sip-1", "postgresql", "offer")
    with pytest.raises(Exception, match="is no step of"):
        converged.modules.voip_rotation.advance("sip-1", "postgresql", "offer")
    with pytest.raises(Exception, match="check-and-set"):
        session.write(
            f"voip/data/{PATH}",
            {"data": before["data"], "options": {"cas": before["metadata"]["version"]}},
        )
    for step in ("accept", "switch", "retire", "revoke", "finish"):
        do(converged, step)


def test_the_server_is_asked_and_tells_who_may_come_in(converged, postgresql, enrolled):
    host = enrolled("sip-1")
    pair = voip_credentials.pair(read(converged))
    assert host.modules.voip_pooler.takes(pair) is True
    assert host.modules.voip_pooler.takes(pair | {"password": "guess"}) is False
    postgresql.stop()
    try:
        with pytest.raises(Exception, match="does not say"):
            host.modules.voip_pooler.takes(pair)
    finally:
        postgresql.restart()


def test_survey_shows_ages_and_no_value(converged):
    found = converged.modules.voip_rotation.survey()
    assert found["sip-1/postgresql"]["phase"] == "stable"
    assert set(found["pbx-1/ami"]) == {"phase", "made"}
    assert read(converged)["password"] not in json.dumps(found)
