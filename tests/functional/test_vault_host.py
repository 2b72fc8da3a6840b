"""A host and its Vault: enrolment, its own secrets only, and each way in which it can fail."""

import json

import pytest
from salt.exceptions import CommandExecutionError

from tests.functional.conftest import ELSEWHERE_HOST
from tests.functional.openbao_server import free_port


@pytest.fixture
def sip(enrolled):
    return enrolled("sip-1")


def test_enrolled_once(sip, provisioned):
    assert sip.modules.voip_vault.is_enrolled() is True
    identity = json.loads((sip.etc / "vault" / "approle.json").read_text())
    assert identity["expires"] - identity["issued"] == sip.pillar["vault"]["secret_id_ttl_s"]


def test_reads_its_own_secrets(sip):
    secret = sip.modules.voip_vault.read("hosts/sip-1/postgresql")
    assert set(secret) == {"username", "password"}


@pytest.mark.parametrize(
    "path", ["hosts/pbx-1/ami", "hosts/media-1/callstore", "hosts/devstack/redis", "hosts"]
)
def test_every_other_path_is_refused(sip, path):
    with pytest.raises(CommandExecutionError, match="permission denied"):
        sip.modules.voip_vault.read(path)


def test_a_pbx_reads_no_subscriber(enrolled, sip):
    sip.modules.voip_vault.write("subscribers/007", {"1001": "x"})
    with pytest.raises(CommandExecutionError, match="permission denied"):
        enrolled("pbx-1").modules.voip_vault.read("subscribers/007")


def test_secrets_are_refused_as_a_job(sip):
    for function in ("voip_vault.read", "voip_vault.secret", "voip_vault_admin.read"):
        with pytest.raises(CommandExecutionError, match="returns a secret"):
            sip.modules[function]("postgresql", __pub_fun=function)


def test_a_wrapping_token_works_once(make_host, provisioned):
    host = make_host("pbx-1")
    issued = provisioned.modules.voip_vault_identity.issue("pbx-1")
    arguments = (issued["role_id"], issued["wrap_token"], provisioned.modules.voip_pki.ca_pem())
    assert host.modules.voip_vault.enrol(*arguments)
    with pytest.raises(CommandExecutionError, match="spent or expired"):
        host.modules.voip_vault.enrol(*arguments)
    host.forget()
    assert host.modules.voip_vault.is_enrolled() is True


def test_a_token_that_wraps_something_else_is_not_used(sip, provisioned):
    issued = provisioned.modules.voip_vault_identity.issue("pbx-1")
    with pytest.raises(CommandExecutionError, match="was not made by"):
        sip.modules.voip_vault.enrol(issued["role_id"], issued["wrap_token"])


def test_an_identity_is_worth_nothing_at_another_address(make_host, provisioned):
    host = make_host(ELSEWHERE_HOST)
    issued = provisioned.modules.voip_vault_identity.issue(ELSEWHERE_HOST)
    with pytest.raises(CommandExecutionError, match="address"):
        host.modules.voip_vault.enrol(
            issued["role_id"], issued["wrap_token"], provisioned.modules.voip_pki.ca_pem()
        )
    assert not (host.etc / "vault" / "approle.json").exists()


def test_operator_issues_wrapped_secret_ids_only(provisioned):
    vault = _as(provisioned, "operator")
    with pytest.raises(CommandExecutionError, match="permission denied"):
        vault.write("auth/approle/role/sip-1/secret-id", {})
    with pytest.raises(CommandExecutionError, match="permission denied"):
        vault.write("auth/approle/role/provision/secret-id", {}, wrap_ttl_s=60)
    with pytest.raises(CommandExecutionError, match="permission denied"):
        vault.read("voip/data/hosts/sip-1/postgresql")
    assert vault.write("auth/approle/role/sip-1/secret-id", {}, wrap_ttl_s=60)["wrap_info"]


def test_unreachable(sip):
    silent = sip.changed("ports:openbao:api", free_port())
    with silent, pytest.raises(CommandExecutionError, match="does not answer"):
        sip.modules.voip_vault.is_enrolled()


def test_wrong_ca(sip, tmp_path):
    from voip_x509 import new_key, self_signed

    key, _ = new_key()
    file = sip.etc / "tls" / "ca.crt"
    good = file.read_text()
    file.write_text(self_signed(key, "another root", ["x.test"], []))
    try:
        with pytest.raises(CommandExecutionError, match="does not verify"):
            sip.modules.voip_vault.is_enrolled()
    finally:
        file.write_text(good)


def test_sealed_is_said_and_is_no_refusal(enrolled, provisioned, server):
    host = enrolled("pbx-1")
    host.forget()
    server.kill()
    server.start()
    try:
        with pytest.raises(CommandExecutionError, match="is sealed"):
            host.modules.voip_vault.is_enrolled()
        ret = provisioned.states.voip_vault.engines("voip")
        assert ret.result is False
        assert "is sealed" in str(ret.comment)
    finally:
        assert provisioned.states.openbao.unsealed("openbao").result is True


def _as(provisioned, name):
    """A session of an AppRole that this test host has no file of."""
    import voip_vault_identity

    issued = provisioned.modules.voip_vault_identity.issue(name)
    settings = provisioned.pillar["vault"]
    identity = voip_vault_identity.unwrap(
        provisioned.modules.voip_vault.connect(),
        issued["wrap_token"],
        settings["approle_mount"],
        name,
        issued["role_id"],
    )
    return provisioned.modules.voip_vault.connect().login(
        settings["approle_mount"], identity["role_id"], identity["secret_id"]
    )
