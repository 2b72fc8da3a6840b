"""The Vault from nothing to provisioned: fresh, predicted, idempotent; root token gone."""

import json

from tests.functional.conftest import PROVISIONING


def test_test_mode_predicts_everything_on_a_machine_without_a_vault(devstack, server):
    for state, kwargs in PROVISIONING[:9]:
        if state == "voip_vault.retired":
            continue  # nothing is left of a host where nothing is
        ret = devstack.states[state](**kwargs, test=True)
        assert ret.result is None, f"{state}: {ret.comment}"
        assert ret.changes
    assert not (devstack.etc / "openbao").exists()


def test_second_run_changes_nothing_in_either_mode(provisioned):
    for test in (True, False):
        for state, kwargs in PROVISIONING:
            ret = provisioned.states[state](**kwargs, test=test)
            assert ret.result is True, f"{state}: {ret.comment}"
            assert ret.changes == {}, state


def test_unseal_key_is_for_root_and_no_root_token_is_left(provisioned):
    file = provisioned.etc / "openbao" / "unseal.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert set(json.loads(file.read_text())) == {"unseal_keys"}
    assert (provisioned.etc / "vault" / "approle.json").stat().st_mode & 0o777 == 0o600


def test_provisioner_is_made_again_when_it_is_lost(provisioned):
    (provisioned.etc / "vault" / "provision.json").unlink()
    predicted = provisioned.states.openbao.provisionable("provision", test=True)
    assert predicted.result is None
    made = provisioned.states.openbao.provisionable("provision")
    assert made.result is True
    assert made.changes == predicted.changes
    assert set(json.loads((provisioned.etc / "openbao" / "unseal.json").read_text())) == {
        "unseal_keys"
    }
    assert provisioned.states.openbao.provisionable("provision").changes == {}


def test_a_changed_object_is_shown_and_put_right(provisioned):
    role = "pki_int/roles/sip-1"
    vault = provisioned.modules.voip_vault.session("provision")
    vault.write(role, vault.read(role) | {"allow_any_name": True, "ttl": 60})
    for test in (True, False):
        ret = provisioned.states.voip_vault.identities("hosts", test=test)
        assert ret.changes == {
            role: {
                "allow_any_name": {"old": True, "new": False},
                "ttl": {"old": 60, "new": provisioned.pillar["pki"]["certificate_ttl_s"]},
            }
        }
    assert provisioned.states.voip_vault.identities("hosts").changes == {}


def test_generated_secrets_are_kept_and_never_shown(provisioned):
    path = "hosts/sip-1/postgresql"
    before = provisioned.modules.voip_vault_admin.read(path)
    assert before["username"] == "sip-1"
    assert len(before["password"]) >= 32
    vault = provisioned.modules.voip_vault.session("provision")
    vault.write(f"voip/data/{path}", {"data": {"password": before["password"]}})
    ret = provisioned.states.voip_vault.generated("hosts")
    assert ret.changes == {path: {"old": None, "new": "made: username"}}
    provisioned.forget()
    assert provisioned.modules.voip_vault_admin.read(path) == before
    assert before["password"] not in json.dumps(ret.raw)


def test_sealed_by_the_api_until_it_is_unsealed(provisioned):
    """By a token that is good for nothing afterwards: none is left, and nothing else changed."""
    assert provisioned.modules.openbao.seal() is True
    assert provisioned.modules.openbao.status()["sealed"] is True
    kept = json.loads((provisioned.etc / "openbao" / "unseal.json").read_text())
    assert set(kept) == {"unseal_keys"}
    assert provisioned.modules.openbao.unseal() is True
    assert provisioned.modules.openbao.status()["sealed"] is False
    assert provisioned.modules.openbao.provisioner_drift() == []


def test_killed_server_is_sealed_and_the_state_unseals_it(provisioned, server):
    server.kill()
    server.start()
    assert provisioned.states.openbao.unsealed("openbao", test=True).result is None
    ret = provisioned.states.openbao.unsealed("openbao")
    assert ret.result is True
    assert ret.changes == {"seal": {"old": None, "new": "made"}}
    assert provisioned.states.openbao.unsealed("openbao").changes == {}


def test_server_log_holds_no_secret(provisioned, server):
    kept = json.loads((provisioned.etc / "openbao" / "unseal.json").read_text())
    identity = json.loads((provisioned.etc / "vault" / "provision.json").read_text())
    for secret in [*kept["unseal_keys"], identity["secret_id"]]:
        assert secret not in server.log()
