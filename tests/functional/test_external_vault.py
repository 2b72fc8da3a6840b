"""An existing Vault: its administrator writes what we ask for, the same states provision it."""

import json

import pytest

from tests.functional.conftest import PROVISIONING

VAULT_STATES = [
    (state, arguments) for state, arguments in PROVISIONING if state.startswith("voip_vault.")
]


@pytest.fixture(scope="module")
def devstack(devstack):
    with devstack.changed("vault:external", True):
        yield devstack


@pytest.fixture(scope="module")
def administrator(devstack, server):
    """The existing Vault as its owner keeps it: a PKI of his own at our mount's path."""
    devstack.modules.openbao.initialise()
    devstack.modules.openbao.unseal()
    kept = json.loads((devstack.etc / "openbao" / "unseal.json").read_text())
    root = devstack.modules.voip_vault.connect().with_token(kept["root_token"])
    root.write("sys/auth/approle", {"type": "approle"})
    root.write("sys/mounts/pki", {"type": "pki", "config": {"max_lease_ttl": "87600h"}})
    made = root.write("pki/root/generate/internal", {"common_name": "theirs", "ttl": "87600h"})
    root.ca_pem = made["data"]["certificate"]
    return root


@pytest.fixture(scope="module")
def allowed(devstack, administrator):
    """What docs/installation.md tells the administrator to do."""
    for path, values in devstack.modules.voip_vault_admin.request().items():
        administrator.write(path, values)
    role = "auth/approle/role/provision"
    devstack.modules.voip_vault.store_identity(
        "provision",
        {
            "role_id": administrator.read(f"{role}/role-id")["role_id"],
            "secret_id": administrator.write(f"{role}/secret-id", {})["data"]["secret_id"],
        },
    )
    return devstack


def test_without_the_identity_it_is_said(devstack, administrator):
    ret = devstack.states.voip_vault.engines("voip")
    assert ret.result is False
    assert "provision.json is missing" in str(ret.comment)


def test_another_root_than_pillars_is_refused(allowed):
    for state, arguments in VAULT_STATES[:3]:
        ret = allowed.states[state](**arguments)
        assert ret.result is True, ret.comment
    ret = allowed.states.voip_vault.authorities(**VAULT_STATES[3][1])
    assert ret.result is False
    assert "is not the one that pillar gives" in str(ret.comment)


def test_the_owners_engines_and_urls_are_left_alone(allowed, administrator):
    assert administrator.read("sys/mounts")["pki/"]["config"]["max_lease_ttl"] == 87600 * 3600
    assert not administrator.read("pki/config/urls")["issuing_certificates"]


def test_provisioned_under_the_owners_root(allowed, administrator):
    allowed.states.voip_certificate.authority("ca.crt", pem=administrator.ca_pem)
    for state, arguments in VAULT_STATES:
        ret = allowed.states[state](**arguments)
        assert ret.result is True, f"{state}: {ret.comment}"
    for state, arguments in VAULT_STATES:
        assert allowed.states[state](**arguments).changes == {}, state
    ret = allowed.states.voip_certificate.managed("redis")
    assert ret.result is True, ret.comment
