"""voip_certificate against a real PKI: made, predicted, left alone, renewed, refused."""

import os
import ssl

import pytest
from salt.exceptions import CommandExecutionError

from tests.functional.openbao_server import free_port


@pytest.fixture
def sip(enrolled):
    return enrolled("sip-1")


@pytest.fixture
def certified(sip):
    assert sip.states.voip_certificate.managed("kamailio").result is True
    return sip


def test_made_once_and_predicted(enrolled):
    host = enrolled("pbx-1")
    predicted = host.states.voip_certificate.managed("asterisk", test=True)
    assert predicted.result is None
    assert not (host.etc / "tls" / "asterisk.crt").exists()
    made = host.states.voip_certificate.managed("asterisk")
    assert made.result is True
    assert made.changes == predicted.changes
    for test in (True, False):
        again = host.states.voip_certificate.managed("asterisk", test=test)
        assert again.result is True
        assert again.changes == {}


def test_key_is_private_and_the_chain_verifies(certified):
    directory = certified.etc / "tls"
    assert (directory / "kamailio.key").stat().st_mode & 0o777 == 0o640
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "kamailio.crt", directory / "kamailio.key")
    assert (directory / "kamailio.crt").read_text().count("BEGIN CERTIFICATE") == 2
    trust = ssl.create_default_context(cafile=directory / "ca.crt")
    trust.verify_flags |= ssl.VERIFY_X509_STRICT
    assert trust.cert_store_stats()["x509_ca"] == 1


def test_no_op_does_not_ask_the_vault(certified):
    with certified.changed("ports:openbao:api", free_port()):
        ret = certified.states.voip_certificate.managed("kamailio")
        assert ret.result is True
        assert ret.changes == {}


def test_renewed_when_the_names_differ(certified):
    key = certified.etc / "tls" / "kamailio.key"
    old_key = key.read_text()
    with certified.changed("certificates:kamailio:alt_names", ["sip-1.voip.test"]):
        for test in (True, False):
            ret = certified.states.voip_certificate.managed("kamailio", test=test)
            assert ret.result is (None if test else True), ret.comment
            assert ret.changes["certificate"]["old"] == "the names differ"
        assert certified.states.voip_certificate.managed("kamailio").changes == {}
    assert key.read_text() != old_key
    # No proxy runs here that could show it: the former pair is kept, and no more than that.
    certified.modules.voip_pki.renew("kamailio")
    kept = [path for path in os.listdir(certified.etc / "tls") if path.startswith(".kamailio.")]
    assert len(kept) == 2


def test_renewed_before_it_ends(certified):
    with certified.changed("certificates:kamailio:renew_fraction", 1.0):
        ret = certified.states.voip_certificate.managed("kamailio", test=True)
        assert ret.result is None
        assert ret.changes["certificate"]["old"].startswith("it ends on ")


def test_another_hosts_name_is_not_signed(certified):
    wanted = certified.modules.voip_pki.settings("kamailio") | {
        "alt_names": ["pbx-1.voip.test"],
        "common_name": "pbx-1.voip.test",
    }
    with pytest.raises(CommandExecutionError, match="not allowed"):
        certified.modules.voip_pki.renew("kamailio", wanted)


def test_another_address_is_not_signed(certified):
    wanted = certified.modules.voip_pki.settings("kamailio") | {"ip_sans": ["192.168.64.30"]}
    with pytest.raises(CommandExecutionError, match="not allowed"):
        certified.modules.voip_pki.renew("kamailio", wanted)


def test_mode_of_the_key_is_put_right(certified):
    key = certified.etc / "tls" / "kamailio.key"
    key.chmod(0o644)
    ret = certified.states.voip_certificate.managed("kamailio")
    assert ret.changes == {"mode": {"old": "0644", "new": "0640"}}
    assert key.stat().st_mode & 0o777 == 0o640


def test_a_root_that_is_no_ca_is_refused(certified):
    leaf = (certified.etc / "tls" / "kamailio.crt").read_text()
    ret = certified.states.voip_certificate.authority("ca.crt", pem=leaf)
    assert ret.result is False
    assert "refused as the root CA" in str(ret.comment)
