"""What the Vault must hold: least privilege by construction, and comparing without false alarms."""

import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parents[2] / "_utils")]

import voip_vault_plan as plan  # noqa: E402

SETTINGS = {
    "kv_mount": "voip",
    "pki_root_mount": "pki",
    "pki_mount": "pki_int",
    "approle_mount": "approle",
    "url": "https://vault.test:8200",
    "external": False,
    "wrap_ttl_s": 120,
    "secret_id_ttl_s": 600,
    "token_ttl_s": 60,
}
PKI = {
    "backdate_s": 30,
    "root_ttl_s": 99,
    "intermediate_ttl_s": 98,
    "crl_ttl_s": 864000,
    "crl_rebuild_s": 172800,
}
SIP = {
    "address": "10.1.0.10",
    "addresses": ["10.1.0.10", "10.2.0.10"],
    "roles": ["sip"],
    "secrets": ["postgresql"],
    "names": ["sip.test", "sip-1.test"],
    "access": {"subscribers": ["create", "list", "read", "update"]},
    "ttl_s": 180,
}
PBX = SIP | {"roles": ["pbx"], "names": [], "secrets": ["ami"], "access": {}}
NOTHING = {"policies": [], "approles": {}, "pki_roles": [], "folders": []}


@pytest.fixture
def objects():
    return plan.objects(SETTINGS, PKI, {"sip-1": SIP, "pbx-1": PBX}, "10.1.0.1")


def policy(objects, name):
    return objects[f"sys/policies/acl/{name}"]["policy"]


def test_a_host_names_no_other_host(objects):
    assert "pbx-1" not in policy(objects, "host-sip-1")
    assert "sip-1" not in policy(objects, "host-pbx-1")


def test_only_whose_role_says_so_reads_subscribers(objects):
    text = policy(objects, "host-sip-1")
    path = 'path "voip/data/subscribers/*" {\n  capabilities = ["create", "read", "update"]\n}'
    assert path in text
    assert 'path "voip/metadata/subscribers/*" {\n  capabilities = ["list"]\n}' in text
    assert "subscribers" not in policy(objects, "host-pbx-1")


def test_a_host_without_names_gets_no_certificate(objects):
    assert "pki_int/roles/pbx-1" not in objects
    assert "pki_int" not in policy(objects, "host-pbx-1")


def test_identities_are_bound_to_their_address(objects):
    role = objects["auth/approle/role/sip-1"]
    assert role["secret_id_bound_cidrs"] == ["10.1.0.10/32"]
    assert role["token_bound_cidrs"] == ["10.1.0.10"]
    assert role["token_policies"] == ["host-sip-1"]


def test_names_and_addresses_of_a_certificate_are_the_hosts(objects):
    role = objects["pki_int/roles/sip-1"]
    assert role["allowed_domains"] == SIP["names"]
    assert role["allowed_ip_sans_cidr"] == ["10.1.0.10/32", "10.2.0.10/32"]
    assert not role["allow_subdomains"]


def test_an_external_vault_is_not_asked_for_what_it_does_not_know():
    found = plan.objects(SETTINGS | {"external": True}, PKI, {"sip-1": SIP}, "10.1.0.1")
    assert "allowed_ip_sans_cidr" not in found["pki_int/roles/sip-1"]


def test_operator_gets_wrapped_secret_ids_only(objects):
    text = policy(objects, "operator")
    assert 'min_wrapping_ttl = "1s"' in text
    assert "hosts/" not in text
    assert "role/operator/secret-id" not in text
    assert "role/provision/secret-id" not in text


def test_provisioner_cannot_change_its_own_policy():
    found = plan.provisioner(SETTINGS, "10.1.0.2")
    text = found["sys/policies/acl/provision"]["policy"]
    assert 'path "sys/policies/acl/provision" {\n  capabilities = ["read"]\n}' in text
    assert 'path "auth/approle/role/provision/*" {\n  capabilities = ["deny"]\n}' in text
    assert "sys/policies/acl/*" not in text


def test_the_owner_of_an_existing_vault_keeps_its_entities():
    text = plan.provisioner(SETTINGS | {"external": True}, "10.1.0.2")
    assert "identity/" not in text["sys/policies/acl/provision"]["policy"]


@pytest.mark.parametrize(
    ("found", "gone"),
    [
        ({}, {}),
        ({"policies": ["default", "host-sip-1", "operator"]}, {}),
        ({"policies": ["host-sip-2"]}, {"sip-2": ["sys/policies/acl/host-sip-2"]}),
        ({"folders": ["sip-1/", "sip-2/"]}, {"sip-2": ["voip/metadata/hosts/sip-2"]}),
        ({"approles": {"sip-2": ["host-sip-2"]}}, {"sip-2": ["auth/approle/role/sip-2"]}),
        # Somebody else's, in an existing Vault.
        ({"approles": {"theirs": ["default"], "open": None}}, {}),
        ({"pki_roles": ["theirs", "sip-1"]}, {}),
        (
            {"policies": ["host-sip-2"], "pki_roles": ["sip-2", "theirs"]},
            {"sip-2": ["pki_int/roles/sip-2", "sys/policies/acl/host-sip-2"]},
        ),
    ],
)
def test_undeclared(found, gone):
    assert plan.undeclared(SETTINGS, NOTHING | found, {"sip-1": SIP, "pbx-1": PBX}) == gone


@pytest.mark.parametrize(
    ("current", "wanted", "changed"),
    [
        ({"ttl": 60, "other": 1}, {"ttl": 60}, set()),
        ({"names": ["b", "a"]}, {"names": ["a", "b"]}, set()),
        ({"ttl": 60}, {"ttl": 61}, {"ttl"}),
        ({}, {"ttl": 60, "flag": False}, {"ttl", "flag"}),
        ({"names": ["a"]}, {"names": ["a", "b"]}, {"names"}),
    ],
)
def test_difference(current, wanted, changed):
    assert set(plan.difference(current, wanted)) == changed


def test_secrets_are_named_after_their_host():
    assert plan.secrets({"sip-1": SIP, "pbx-1": PBX}) == {
        "hosts/sip-1/postgresql": "sip-1",
        "hosts/pbx-1/ami": "pbx-1",
    }


def test_lists_live_much_longer_than_until_the_next(objects):
    for mount in ("pki", "pki_int"):
        lists = objects[f"{mount}/config/crl"]
        assert lists["auto_rebuild"] is True
        assert (lists["expiry"], lists["auto_rebuild_grace_period"]) == ("864000s", "691200s")


def test_records_of_what_has_ended_go(objects):
    for mount in ("pki", "pki_int"):
        tidy = objects[f"{mount}/config/auto-tidy"]
        assert tidy["enabled"] is tidy["tidy_cert_store"] is tidy["tidy_revoked_certs"] is True


def test_a_certificate_names_its_own_issuers_list(objects):
    urls = objects["pki_int/config/urls"]
    issuer = "https://vault.test:8200/v1/pki_int/issuer/{{issuer_id}}"
    assert urls["crl_distribution_points"] == [f"{issuer}/crl/der"]
    assert urls["issuing_certificates"] == [f"{issuer}/der"]
    assert urls["enable_templating"] is True


def test_an_existing_vaults_lists_and_issuers_are_its_owners():
    external = SETTINGS | {"external": True}
    found = plan.objects(external, PKI, {"sip-1": SIP}, "10.1.0.1")
    assert not [path for path in found if "/config/" in path]
    rules = plan.provisioner(external, "10.1.0.2")["sys/policies/acl/provision"]["policy"]
    assert "pki_int/issuer/*" not in rules
