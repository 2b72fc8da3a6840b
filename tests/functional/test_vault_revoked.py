"""A host that leaves the pillar: nothing of its identity works, nothing of it is left."""

import json

import pytest
from salt.exceptions import CommandExecutionError

GONE = "media-9"


@pytest.fixture
def gone(provisioned, make_host):
    """media-9 as pillar declared it once: enrolled, with a certificate, a secret and a session."""
    declared = dict(provisioned.pillar["provisioning"])
    entry = declared["sip-1"] | {
        "names": [f"{GONE}.voip.test"],
        "access": {},
        "secrets": ["redis"],
    }
    with provisioned.changed("provisioning", declared | {GONE: entry}):
        for state in ("identities", "generated"):
            assert provisioned.states[f"voip_vault.{state}"]("hosts").result is True
        vault = provisioned.modules.voip_vault.session("provision")
        for _ in range(2):  # a second version: all of them are to go
            vault.write(f"voip/data/hosts/{GONE}/redis", {"data": {"password": "x"}})
        vault.write(f"voip/data/hosts/{GONE}/deep/er", {"data": {"password": "y"}})
    issued = vault.write(f"auth/approle/role/{GONE}/secret-id", {})["data"]
    role_id = vault.read(f"auth/approle/role/{GONE}/role-id")["role_id"]
    session = provisioned.modules.voip_vault.connect()
    session.login("approle", role_id, issued["secret_id"])
    identity = {"role_id": role_id, "secret_id": issued["secret_id"]}
    return {"session": session, "identity": identity, "serial": _certificate(session)}


def _certificate(session):
    import voip_x509

    key, _ = voip_x509.new_key()
    name = f"{GONE}.voip.test"
    csr = voip_x509.request(key, name, [name], [])
    answer = session.write(f"pki_int/sign/{GONE}", {"csr": csr, "common_name": name, "ttl": "1h"})
    return answer["data"]["serial_number"]


def left(provisioned):
    """Every path that bears the name of the host."""
    provisioned.forget()
    vault = provisioned.modules.voip_vault.session("provision")
    folders = ("sys/policies/acl", "auth/approle/role", "pki_int/roles", "voip/metadata/hosts")
    return [f"{folder}/{key}" for folder in folders for key in vault.keys(folder) if GONE in key]


def test_all_of_it_goes_with_its_host(gone, provisioned):
    assert len(left(provisioned)) == 4
    predicted = provisioned.states.voip_vault.retired("hosts", test=True)
    assert predicted.result is None
    assert len(left(provisioned)) == 4
    assert gone["session"].read(f"voip/data/hosts/{GONE}/redis")
    done = provisioned.states.voip_vault.retired("hosts")
    assert done.result is True, done.comment
    assert done.changes == predicted.changes
    assert set(done.changes) == {GONE}
    assert left(provisioned) == []
    for test in (True, False):
        again = provisioned.states.voip_vault.retired("hosts", test=test)
        assert again.result is True
        assert again.changes == {}
    with pytest.raises(CommandExecutionError):
        provisioned.modules.voip_vault.connect().login("approle", *gone["identity"].values())
    with pytest.raises(CommandExecutionError, match="denied"):
        gone["session"].read(f"voip/data/hosts/{GONE}/redis")
    vault = provisioned.modules.voip_vault.session("provision")
    assert vault.read(f"pki_int/cert/{gone['serial']}")["revocation_time"] > 0
    serials = json.dumps(vault.keys("pki_int/certs/revoked"))
    assert gone["serial"] in serials


def test_a_token_of_before_is_dead_when_the_name_comes_back(gone, provisioned):
    """The policy has its name again: the token of the host that was is worth nothing with it."""
    assert provisioned.states.voip_vault.retired("hosts").result is True
    declared = dict(provisioned.pillar["provisioning"])
    entry = declared["sip-1"] | {"names": [], "access": {}, "secrets": ["redis"]}
    with provisioned.changed("provisioning", declared | {GONE: entry}):
        for state in ("identities", "generated"):
            assert provisioned.states[f"voip_vault.{state}"]("hosts").result is True
    with pytest.raises(CommandExecutionError, match="denied"):
        gone["session"].read(f"voip/data/hosts/{GONE}/redis")
    provisioned.states.voip_vault.retired("hosts")
    assert left(provisioned) == []


@pytest.mark.parametrize("calls", range(1, 8))
def test_killed_at_any_call_the_next_run_finishes(calls, gone, provisioned, monkeypatch):
    """Each request to the Vault may be the last one before a kill."""
    import voip_vault_client

    true, count = voip_vault_client.Session.call, []

    def dies(self, verb, path, *rest):
        if verb == "delete" or path.endswith(("destroy", "revoke")):
            count.append(path)
            if len(count) >= calls:
                raise KeyboardInterrupt
        return true(self, verb, path, *rest)

    monkeypatch.setattr(voip_vault_client.Session, "call", dies)
    with pytest.raises(KeyboardInterrupt):
        provisioned.modules.voip_vault_identity.revoke(GONE)
    monkeypatch.undo()
    provisioned.states.voip_vault.retired("hosts")
    assert left(provisioned) == []
    with pytest.raises(CommandExecutionError):
        gone["session"].read(f"voip/data/hosts/{GONE}/redis")
    vault = provisioned.modules.voip_vault.session("provision")
    assert vault.read(f"pki_int/cert/{gone['serial']}")["revocation_time"] > 0


def test_others_approles_and_roles_are_left_alone(provisioned):
    """An existing Vault holds what is none of ours."""
    vault = provisioned.modules.voip_vault.session("provision")
    vault.write("auth/approle/role/theirs", {"token_policies": ["default"]})
    vault.write("pki_int/roles/theirs", {"allow_any_name": True})
    try:
        assert provisioned.states.voip_vault.retired("hosts").changes == {}
        assert vault.read("auth/approle/role/theirs")
    finally:
        vault.delete("auth/approle/role/theirs")
        vault.delete("pki_int/roles/theirs")


@pytest.mark.parametrize("name", ["provision", "operator"])
def test_the_platforms_own_are_no_hosts(name, provisioned):
    with pytest.raises(CommandExecutionError, match="is no host"):
        provisioned.modules.voip_vault_identity.revoke(name)
