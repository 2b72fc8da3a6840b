"""The intermediate CA's rotation against a real PKI: overlap, what goes, a kill at each request."""

import pytest
import voip_authority_plan
import voip_revocation
import voip_vault_client
import voip_x509
from cryptography import x509
from salt.exceptions import CommandExecutionError

ORDER = list(voip_authority_plan.STEPS)
BEGIN = {"common_name": "intermediate CA", "revoke_old": True}


@pytest.fixture
def authority(provisioned):
    provisioned.forget()
    return provisioned.modules.voip_vault_authority


@pytest.fixture
def sip(enrolled):
    host = enrolled("sip-1")
    host.modules.voip_pki.renew("kamailio")
    return host


@pytest.fixture(autouse=True)
def stable(authority):
    """Each test ends what it, or the one before, left begun."""
    yield
    finish(authority)


def advance(authority, until=None):
    """Do step after step, `until` included, or to the end."""
    while True:
        step = authority.progress()["step"]
        found = authority.advance(step, **(BEGIN if step == "begin" else {}))
        if step == until or found["phase"] == voip_authority_plan.STABLE:
            return found


def finish(authority):
    if authority.progress()["phase"] != voip_authority_plan.STABLE:
        advance(authority)


def chain(host):
    return (host.etc / "tls" / "kamailio.crt").read_text()


def by(host):
    return voip_x509.describe(chain(host))["authority"]


def serial(host):
    return voip_x509.describe(chain(host))["serial"]


def is_trusted(pem, host):
    """Whether the root alone verifies a leaf with the intermediate that it brings."""
    found = x509.load_pem_x509_certificates(pem.encode())
    return voip_x509.is_chained(found, host.modules.voip_pki.ca_pem())


def test_both_are_good_until_the_old_one_goes(authority, sip):
    old, before = by(sip), chain(sip)
    made = advance(authority, "make")
    new = made["new"]
    assert (made["phase"], made["old"]) == ("made", old)
    assert new not in (None, old)
    # The old one signs still, and the new one's list is there before it signs anything.
    sip.modules.voip_pki.renew("kamailio")
    assert by(sip) == old
    second = serial(sip)
    sip.modules.voip_crl.refresh()
    lists = voip_revocation.lists((sip.etc / "tls" / "kamailio.crl").read_text())
    assert {old, new} < set(lists)
    assert len(lists) == 3
    advance(authority, "switch")
    assert sip.states.voip_certificate.managed("kamailio").changes == {}  # nobody is hurried
    sip.modules.voip_pki.renew("kamailio")
    assert by(sip) == new
    assert is_trusted(chain(sip), sip)
    assert is_trusted(before, sip)
    assert authority.revoked([second]) == {second: None}
    closed = advance(authority, "close")
    signs = {about["authority"]: about["signs"] for about in closed["issuers"]}
    assert signs == {old: False, new: True}
    # Its list is served while anything of it is good.
    sip.modules.voip_crl.refresh()
    assert old in voip_revocation.lists((sip.etc / "tls" / "kamailio.crl").read_text())
    advance(authority, "withdraw")
    sip.modules.voip_crl.refresh()
    text = (sip.etc / "tls" / "kamailio.crl").read_text()
    assert second in voip_revocation.revoked(text)
    assert serial(sip) not in voip_revocation.revoked(text)
    ended = advance(authority)
    assert ended["phase"] == voip_authority_plan.STABLE
    assert [about["authority"] for about in ended["issuers"]] == [new]
    sip.modules.voip_crl.refresh()
    assert old not in voip_revocation.lists((sip.etc / "tls" / "kamailio.crl").read_text())
    sip.modules.voip_pki.renew("kamailio")
    assert by(sip) == new


def test_the_root_revokes_the_old_one(authority, provisioned, sip):
    intermediate = chain(sip).split("-----END CERTIFICATE-----\n")[1]
    number = voip_x509.describe(f"{intermediate}-----END CERTIFICATE-----\n")["serial"]
    advance(authority)
    sip.modules.voip_crl.refresh()
    assert number in voip_revocation.revoked((sip.etc / "tls" / "kamailio.crl").read_text())
    provisioned.modules.voip_pki.renew("openbao")


def test_a_second_rotation_after_the_first(authority):
    first = advance(authority)["issuers"][0]
    second = advance(authority)["issuers"][0]
    assert first["authority"] != second["authority"]
    assert second["is_default"]
    assert second["signs"]


@pytest.mark.parametrize("step", ORDER)
def test_no_step_out_of_its_turn(step, authority):
    for other in ORDER:
        if other != step:
            if authority.progress()["step"] != step:
                advance_to(authority, step)
            with pytest.raises(CommandExecutionError, match="is not due"):
                authority.advance(other, **(BEGIN if other == "begin" else {}))
    assert authority.progress()["step"] == step


def advance_to(authority, step):
    while authority.progress()["step"] != step:
        now = authority.progress()["step"]
        authority.advance(now, **(BEGIN if now == "begin" else {}))


@pytest.mark.parametrize("step", ORDER)
def test_killed_at_any_request_of_a_step_it_goes_on(step, authority, provisioned, sip, monkeypatch):
    """Each request that changes the Vault may be the last one before a kill; twice in a row."""
    true = voip_vault_client.Session.call
    advance_to(authority, step)
    calls, killed = 0, 0
    while True:
        calls += 1
        left = [calls]

        def dies(self, verb, path, *rest, left=left):
            answer = true(self, verb, path, *rest)
            if verb in ("post", "delete") or path.endswith("rotate"):
                left[0] -= 1
                if left[0] == 0:
                    raise KeyboardInterrupt
            return answer

        monkeypatch.setattr(voip_vault_client.Session, "call", dies)
        try:
            authority.advance(step, **(BEGIN if step == "begin" else {}))
        except KeyboardInterrupt:
            killed += 1
        monkeypatch.setattr(voip_vault_client.Session, "call", true)
        provisioned.forget()
        if authority.progress()["step"] != step:
            break
    assert killed
    ended = advance(authority)
    (only,) = ended["issuers"]
    assert only["is_default"]
    assert only["signs"]
    vault = provisioned.modules.voip_vault.session("provision")
    assert len(vault.keys("pki_int/keys")) == 1
    sip.modules.voip_pki.renew("kamailio")
    assert by(sip) == only["authority"]


def test_it_is_due_when_what_it_signs_would_outlive_it(authority, provisioned):
    assert authority.progress()["due"] is False
    hosts = dict(provisioned.pillar["provisioning"])
    ttl_s = provisioned.pillar["pki"]["intermediate_ttl_s"]
    longer = {name: entry | {"ttl_s": ttl_s // 2} for name, entry in hosts.items()}
    with provisioned.changed("provisioning", longer):
        assert provisioned.modules.voip_vault_authority.progress()["due"] is False
    outliving = {name: entry | {"ttl_s": ttl_s * 2} for name, entry in hosts.items()}
    with (
        provisioned.changed("provisioning", outliving),
        provisioned.changed("pki:intermediate_ttl_s", ttl_s * 4),
    ):
        assert provisioned.modules.voip_vault_authority.progress()["due"] is True


def test_an_existing_vaults_owner_rotates_it(authority, provisioned):
    with (
        provisioned.changed("vault:external", True),
        pytest.raises(CommandExecutionError, match="is its owner's"),
    ):
        provisioned.modules.voip_vault_authority.advance("begin", **BEGIN)
