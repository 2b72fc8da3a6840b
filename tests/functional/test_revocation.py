"""Revocation lists against a real PKI: what they hold, who gets them, which are refused."""

import datetime
import json

import pytest
import requests
import voip_revocation
import voip_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from tests.functional.openbao_server import free_port

NAME = "kamailio"


@pytest.fixture
def sip(enrolled):
    host = enrolled("sip-1")
    if host.modules.voip_pki.shortcoming(NAME):
        assert host.states.voip_certificate.managed(NAME).result is True
    return host


@pytest.fixture
def listed(sip):
    """sip-1 with the Vault's newest lists."""
    ret = sip.states.voip_certificate.revocations(NAME)
    assert ret.result is True, ret.comment
    return sip


@pytest.fixture
def authority(provisioned):
    return provisioned.modules.voip_vault_authority


def serial(host):
    chain = (host.etc / "tls" / f"{NAME}.crt").read_text()
    return voip_x509.describe(chain)["serial"]


def file(host):
    return host.etc / "tls" / f"{NAME}.crl"


def lists(host):
    return voip_revocation.lists(file(host).read_text())


def forged(crl, key, **changed):
    """A list like `crl`, signed by `key`."""
    now = datetime.datetime.now(datetime.UTC)
    values = {"begins": now, "ends": now + datetime.timedelta(days=1)} | changed
    made = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(crl.issuer)
        .last_update(values["begins"])
        .next_update(values["ends"])
    )
    for extension in crl.extensions:
        made = made.add_extension(extension.value, extension.critical)
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def test_without_a_token_over_tls_of_each_issuer(provisioned, vault_port):
    certificate = x509.load_pem_x509_certificates(
        (provisioned.etc / "tls" / "openbao.crt").read_bytes()
    )[0]
    points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    (url,) = [name.value for point in points for name in point.full_name]
    base = f"https://127.0.0.1:{vault_port}/v1/pki_int/issuer/"
    assert url.startswith(base)
    assert url.endswith("/crl/der")
    answer = requests.get(url, verify=str(provisioned.etc / "tls" / "ca.crt"), timeout=10)
    crl = x509.load_der_x509_crl(answer.content)
    issuer = requests.get(
        url.removesuffix("crl/der") + "der",
        verify=str(provisioned.etc / "tls" / "ca.crt"),
        timeout=10,
    )
    key = x509.load_der_x509_certificate(issuer.content).public_key()
    assert crl.is_signature_valid(key)
    left = crl.next_update_utc - datetime.datetime.now(datetime.UTC)
    assert left > datetime.timedelta(days=7)


def test_predicted_installed_left_alone(sip):
    file(sip).unlink(missing_ok=True)
    predicted = sip.states.voip_certificate.revocations(NAME, test=True)
    assert predicted.result is None
    assert not file(sip).exists()
    done = sip.states.voip_certificate.revocations(NAME)
    assert done.result is True, done.comment
    assert done.changes == predicted.changes
    assert len(done.changes) == 2  # the root's and the intermediate's
    for test in (True, False):
        again = sip.states.voip_certificate.revocations(NAME, test=test)
        assert (again.result, again.changes) == (True, {})
    assert sip.modules.voip_crl.usable(NAME) == str(file(sip))


def test_a_revoked_certificate_is_in_the_next_list(listed, authority):
    taken = serial(listed)
    listed.modules.voip_pki.renew(NAME)
    assert taken not in voip_revocation.revoked(file(listed).read_text())
    assert authority.revoke(taken)["revoked_at"] > 0
    assert authority.revoked([taken, serial(listed)]) == {
        taken: authority.revoke(taken)["revoked_at"],
        serial(listed): None,
    }
    predicted = listed.states.voip_certificate.revocations(NAME, test=True)
    assert taken not in voip_revocation.revoked(file(listed).read_text())
    done = listed.modules.voip_crl.refresh()[NAME]
    assert done["changed"] == predicted.changes
    assert taken in voip_revocation.revoked(file(listed).read_text())
    assert listed.modules.voip_crl.refresh()[NAME]["changed"] == {}


def test_a_host_that_is_gone_is_in_the_next_list(listed, authority, provisioned):
    taken = serial(listed)
    number = provisioned.modules.voip_vault_authority.revoke_of("sip-1.voip.test")
    assert number >= 1
    listed.modules.voip_crl.refresh()
    assert taken in voip_revocation.revoked(file(listed).read_text())
    listed.modules.voip_pki.renew(NAME)


def test_a_vault_that_does_not_answer_leaves_the_lists(listed):
    before = file(listed).read_text()
    with listed.changed("ports:openbao:api", free_port()):
        for test in (True, False):
            ret = listed.states.voip_certificate.revocations(NAME, test=test)
            assert (ret.result, ret.changes) == (True, {})
            assert "the lists in place stay in use" in ret.comment
            assert "does not answer" in ret.comment
        assert listed.modules.voip_crl.usable(NAME)
    assert file(listed).read_text() == before


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "there is none"), ("rubbish", "no list"), ("ended", "ended on")],
)
def test_what_cannot_be_used_is_named_to_no_daemon(listed, content, reason):
    """And the Vault is away: the daemon is told to check by none, and serves."""
    key, _ = voip_x509.new_key()
    crl = next(iter(lists(listed).values()))
    if content is None:
        file(listed).unlink()
    elif content == "ended":
        day = datetime.timedelta(days=1)
        now = datetime.datetime.now(datetime.UTC)
        file(listed).write_text(forged(crl, key, begins=now - 2 * day, ends=now - day))
    else:
        file(listed).write_text(content)
    with listed.changed("ports:openbao:api", free_port()):
        assert listed.modules.voip_crl.usable(NAME) is None
        assert "crl = " not in listed.modules.kamailio.tables(listed.pillar)["tls.cfg"]
        ret = listed.states.voip_certificate.revocations(NAME)
        assert ret.result is False
        assert reason in ret.comment
        assert ret.changes == {}
    assert listed.states.voip_certificate.revocations(NAME).result is True
    assert f"crl = {file(listed)}" in listed.modules.kamailio.tables(listed.pillar)["tls.cfg"]


def test_an_older_list_is_refused(listed, authority):
    before = file(listed).read_text()
    key, _ = voip_x509.new_key()
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    newer = voip_revocation.join(forged(crl, key, begins=later) for crl in lists(listed).values())
    file(listed).write_text(newer)
    ret = listed.states.voip_certificate.revocations(NAME)
    assert ret.changes == {}
    assert "an older revocation list than is in place" in ret.comment
    assert file(listed).read_text() == newer
    file(listed).write_text(before)
    authority.rotate_lists()
    assert listed.states.voip_certificate.revocations(NAME).result is True


def test_another_signature_is_refused(listed, monkeypatch):
    """What answers shows a certificate of ours, and a list that its issuer has not signed."""
    import voip_vault_client

    key, _ = voip_x509.new_key()
    before, true = file(listed).read_text(), voip_vault_client.Session.read

    def read(self, path):
        found = true(self, path)
        if path.endswith("/crl"):
            return {"crl": forged(x509.load_pem_x509_crl(found["crl"].encode()), key)}
        return found

    monkeypatch.setattr(voip_vault_client.Session, "read", read)
    ret = listed.states.voip_certificate.revocations(NAME)
    assert ret.changes == {}
    assert "its signature is not its issuer's" in ret.comment
    assert file(listed).read_text() == before


def test_nothing_is_kept_that_the_vault_must_not_give(listed):
    """What a host answers about its lists is no more than they say."""
    found = listed.modules.voip_crl.state()
    assert set(found) == set(listed.modules.voip_crl.components())
    assert found[NAME]["problem"] is None
    assert "PRIVATE" not in json.dumps(found)


def test_lists_live_longer_than_a_vault_is_away(provisioned):
    """Made anew long before they end; the settings converge and are seen when they drift."""
    vault = provisioned.modules.voip_vault.session("provision")
    vault.write("pki_int/config/crl", {"expiry": "72h", "auto_rebuild": False})
    predicted = provisioned.states.voip_vault.identities("hosts", test=True)
    done = provisioned.states.voip_vault.identities("hosts")
    assert done.changes == predicted.changes
    assert done.changes == {
        "pki_int/config/crl": {
            "expiry": {"old": "72h", "new": "864000s"},
            "auto_rebuild": {"old": False, "new": True},
        }
    }
    assert provisioned.states.voip_vault.identities("hosts").changes == {}


def test_names_are_of_their_issuers(listed):
    names = {
        crl.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
        for crl in lists(listed).values()
    }
    assert names == {"root CA", "intermediate CA"}
