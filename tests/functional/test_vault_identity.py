"""An identity's life on a real server: issued, replaced, intercepted, expired, revoked."""

import json
import time

import pytest
from salt.exceptions import CommandExecutionError

from voip_stack.identity import Delivery
from voip_stack.problem import Problem


@pytest.fixture
def sip(enrolled):
    return enrolled("sip-1")


@pytest.fixture
def events():
    return []


@pytest.fixture
def delivery(make_host, provisioned, events):
    """As the control host delivers, with the hosts' modules in place of jobs."""

    def ask(host, function, **keywords):
        party = make_host(host)
        party.forget()  # each job is a process of its own
        try:
            return party.modules[function](**keywords)
        except CommandExecutionError as error:
            raise Problem(str(error)) from error

    return Delivery("devstack", ask, lambda *event: events.append(event))


def file_of(host):
    return host.etc / "vault" / "approle.json"


def identity_of(host):
    return json.loads(file_of(host).read_text())


def logs_in(host, identity):
    host.forget()
    try:
        host.modules.voip_vault.connect().login(
            "approle", identity["role_id"], identity["secret_id"]
        )
    except CommandExecutionError:
        return False
    return True


def accessors(provisioned, name="sip-1"):
    provisioned.forget()
    vault = provisioned.modules.voip_vault.session("provision")
    return vault.keys(f"auth/approle/role/{name}/secret-id")


def test_replaced_without_a_gap(sip, delivery, provisioned, events):
    before = identity_of(sip)
    assert delivery.ensure("sip-1") == "already enrolled"
    assert identity_of(sip) == before
    assert delivery.replace("sip-1") == "enrolled"
    after = identity_of(sip)
    assert after["accessor"] != before["accessor"]
    assert logs_in(sip, after)
    assert not logs_in(sip, before)
    assert accessors(provisioned) == [after["accessor"]]
    assert events == []


@pytest.mark.parametrize("step", ["accept", "retire"])
def test_killed_at_each_step_the_next_run_goes_on(step, sip, delivery, provisioned):
    """accept: the wrapping token never arrives. retire: both secret_ids are valid."""
    before = identity_of(sip)
    ask = delivery._ask

    def dies(host, function, **keywords):
        if function.endswith(f".{step}"):
            raise KeyboardInterrupt
        return ask(host, function, **keywords)

    delivery._ask = dies
    with pytest.raises(KeyboardInterrupt):
        delivery.replace("sip-1")
    assert logs_in(sip, before), "the one before ends only when the new one is proved"
    assert sip.modules.voip_vault.is_enrolled() is True
    assert len(accessors(provisioned)) == 2
    delivery._ask = ask
    assert delivery.ensure("sip-1") == "already enrolled"
    assert accessors(provisioned) == [identity_of(sip)["accessor"]]
    assert logs_in(sip, identity_of(sip))


def test_nothing_is_retired_for_an_accessor_that_is_not_there(sip, provisioned):
    with pytest.raises(CommandExecutionError, match="no secret_id with the accessor"):
        provisioned.modules.voip_vault_identity.retire("sip-1", "never-was")
    assert logs_in(sip, identity_of(sip))


def test_a_thief_unwraps_first(sip, delivery, provisioned, events):
    """What he took is dead at once, his tokens too; the host works; one event tells of it."""
    before, stolen, ask = identity_of(sip), {}, delivery._ask

    def intercepted(host, function, **keywords):
        if function == "voip_vault.accept" and not stolen:
            vault = sip.modules.voip_vault.connect().with_token(keywords["wrap_token"])
            stolen.update(vault.write("sys/wrapping/unwrap", {})["data"])
            stolen["role_id"] = keywords["role_id"]
            # He is at the host's address: nothing else would let him in.
            stolen["session"] = sip.modules.voip_vault.connect().login(
                "approle", stolen["role_id"], stolen["secret_id"]
            )
            assert stolen["session"].read("voip/data/hosts/sip-1/redis")
        return ask(host, function, **keywords)

    delivery._ask = intercepted
    assert delivery.replace("sip-1") == "enrolled"
    assert not logs_in(sip, stolen)
    with pytest.raises(CommandExecutionError, match=r"denied|invalid"):
        stolen["session"].read("voip/data/hosts/sip-1/redis")
    assert [event[:2] for event in events] == [("identity/intercepted", "sip-1")]
    assert stolen["secret_id"] not in str(events)
    after = identity_of(sip)
    assert logs_in(sip, after)
    assert not logs_in(sip, before)
    assert accessors(provisioned) == [after["accessor"]]
    sip.forget()
    assert set(sip.modules.voip_vault.read("hosts/sip-1/redis")) == {"username", "password"}


def test_a_token_that_wraps_something_else_is_an_interception(sip, delivery, events):
    """Somebody kept ours and passed on another that he may make: its path gives him away."""
    ask, swapped = delivery._ask, []

    def swap(host, function, **keywords):
        if function == "voip_vault.accept" and not swapped:
            swapped.append(keywords["wrap_token"])
            other = ask("devstack", "voip_vault_identity.issue", name="pbx-1")
            keywords["wrap_token"] = other["wrap_token"]
        return ask(host, function, **keywords)

    delivery._ask = swap
    assert delivery.replace("sip-1") == "enrolled"
    assert [event[:2] for event in events] == [("identity/intercepted", "sip-1")]
    kept_back = sip.modules.voip_vault.connect().with_token(swapped[0])
    taken = kept_back.write("sys/wrapping/unwrap", {})["data"]
    assert not logs_in(sip, {**identity_of(sip), "secret_id": taken["secret_id"]})


def test_who_takes_every_one_is_not_fed_for_ever(sip, delivery, events):
    before, ask = identity_of(sip), delivery._ask

    def takes_all(host, function, **keywords):
        if function == "voip_vault.accept":
            vault = sip.modules.voip_vault.connect().with_token(keywords["wrap_token"])
            vault.write("sys/wrapping/unwrap", {})
        return ask(host, function, **keywords)

    delivery._ask = takes_all
    with pytest.raises(Problem, match="in a row"):
        delivery.replace("sip-1")
    assert len(events) == 3
    assert logs_in(sip, before), "the host keeps what it has"


def test_expired_secret_id(sip, delivery, provisioned, events):
    """A life of seconds: due before its end, refused after it, enrolled anew by the next run."""
    vault = provisioned.modules.voip_vault.session("provision")
    role = "auth/approle/role/sip-1"
    life_s = vault.read(role)["secret_id_ttl"]
    vault.write(role, {"secret_id_ttl": 3})
    try:
        delivery.replace("sip-1")
        short = identity_of(sip)
        assert short["expires"] - short["issued"] == 3
        held = sip.modules.voip_vault.held()
        assert held["works"]
        deadline = time.monotonic() + 8
        while logs_in(sip, short):
            assert time.monotonic() < deadline, "it does not end"
            time.sleep(0.1)
        sip.forget()
        assert sip.modules.voip_vault.held() == held | {"works": False, "due": True}
        with pytest.raises(CommandExecutionError, match="refuses this AppRole"):
            sip.modules.voip_vault.read("hosts/sip-1/redis")
    finally:
        vault.write(role, {"secret_id_ttl": life_s})
    assert delivery.ensure("sip-1") == "enrolled"
    sip.forget()
    assert sip.modules.voip_vault.is_enrolled() is True
    assert events == []


@pytest.mark.parametrize("off_s", [-3600, 3600])
def test_a_clock_an_hour_off_changes_no_lifetime(off_s, sip, delivery, monkeypatch):
    """issued and expires are the server's; whether it is due is asked of the server's clock."""
    true = time.time
    monkeypatch.setattr(time, "time", lambda: true() + off_s)
    delivery.replace("sip-1")
    identity = identity_of(sip)
    assert abs(identity["issued"] - true()) < 5
    sip.forget()
    with sip.changed("vault:renew_fraction", 0.9999):
        # 0.9999 of 90 days: due 13 minutes after it was issued, by the server's clock only.
        assert sip.modules.voip_vault.held()["due"] is False


def test_a_session_outlives_its_token(sip, provisioned, monkeypatch):
    """A batch token cannot be renewed: another is had in time, with the identity of that time."""
    import voip_vault_client

    vault = provisioned.modules.voip_vault.session("provision")
    role = "auth/approle/role/sip-1"
    ttl_s = vault.read(role)["token_ttl"]
    vault.write(role, {"token_ttl": 4, "token_max_ttl": 4})
    try:
        sip.forget()
        session = sip.modules.voip_vault.session()
        began = voip_vault_client.elapsed()
        while voip_vault_client.elapsed() < began + 7:
            assert session.read("voip/data/hosts/sip-1/redis")
            time.sleep(0.2)
    finally:
        vault.write(role, {"token_ttl": ttl_s, "token_max_ttl": ttl_s})


def test_a_policy_removed_by_hand_is_said_and_put_back(sip, provisioned):
    path = "sys/policies/acl/host-sip-1"
    provisioned.modules.voip_vault.session("provision").delete(path)
    sip.forget()
    with pytest.raises(CommandExecutionError, match="permission denied"):
        sip.modules.voip_vault.read("hosts/sip-1/redis")
    predicted = provisioned.states.voip_vault.identities("hosts", test=True)
    assert predicted.result is None
    made = provisioned.states.voip_vault.identities("hosts")
    assert made.result is True
    assert made.changes == predicted.changes
    assert list(made.changes) == [path]
    assert provisioned.states.voip_vault.identities("hosts").changes == {}
    sip.forget()
    assert sip.modules.voip_vault.read("hosts/sip-1/redis")


def test_the_provisioning_machine_replaces_its_own(provisioned):
    before = identity_of(provisioned)
    with provisioned.changed("vault:renew_fraction", 0.9999999999):
        time.sleep(1.1)  # the server tells its time in seconds
        predicted = provisioned.states.voip_vault.enrolled("devstack", test=True)
        assert predicted.result is None
        assert identity_of(provisioned) == before
        made = provisioned.states.voip_vault.enrolled("devstack")
        assert made.result is True, made.comment
        assert made.changes == predicted.changes
    after = identity_of(provisioned)
    assert accessors(provisioned, "devstack") == [after["accessor"]]
    assert provisioned.states.voip_vault.enrolled("devstack").changes == {}
