"""Each way in which the Vault can fail its states: said in both modes, nothing changed, mended."""

import contextlib
import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from salt.exceptions import CommandExecutionError

from tests.functional.openbao_server import free_port

STATES = [
    ("voip_vault.engines", "voip"),
    ("voip_vault.identities", "hosts"),
    ("voip_vault.retired", "hosts"),
    ("voip_vault.generated", "hosts"),
    ("voip_vault.enrolled", "devstack"),
]


@contextlib.contextmanager
def sealed(host, server):
    server.kill()
    server.start()
    try:
        yield
    finally:
        assert host.states.openbao.unsealed("openbao").result is True


@contextlib.contextmanager
def unreachable(host, server):
    with host.changed("ports:openbao:api", free_port()):
        yield


@contextlib.contextmanager
def wrong_ca(host, server):
    file = host.etc / "tls" / "ca.crt"
    good = file.read_text()
    file.write_text(_certificate(_now(), _now() + datetime.timedelta(days=1))[0])
    try:
        yield
    finally:
        file.write_text(good)


FAILURES = {
    "sealed": (sealed, "is sealed"),
    "unreachable": (unreachable, "does not answer"),
    "wrong CA": (wrong_ca, "does not verify"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_every_state_says_it_and_changes_nothing(failure, provisioned, server):
    fail, words = FAILURES[failure]
    identity = (provisioned.etc / "vault" / "approle.json").read_text()
    with fail(provisioned, server):
        for test in (True, False):
            for state, name in STATES:
                ret = provisioned.states[state](name, test=test)
                assert ret.result is False, (state, test)
                assert ret.changes == {}
                assert words in str(ret.comment), (state, test)
    assert (provisioned.etc / "vault" / "approle.json").read_text() == identity
    for test in (True, False):
        for state, name in STATES:
            ret = provisioned.states[state](name, test=test)
            assert ret.result is True, ret.comment
            assert ret.changes == {}


@pytest.mark.parametrize(
    ("begins_h", "ends_h", "words"), [(1, 2, "not valid yet"), (-2, -1, "expired")]
)
def test_a_clock_that_is_off_is_named(begins_h, ends_h, words, enrolled, provisioned, server):
    """To a machine an hour behind, a new certificate is of tomorrow: as this one is to all."""
    host = enrolled("pbx-1")
    now, hours = _now(), datetime.timedelta(hours=1)
    pem, key_pem = _certificate(now + begins_h * hours, now + ends_h * hours)
    chain, key = provisioned.etc / "tls" / "openbao.crt", provisioned.etc / "tls" / "openbao.key"
    kept, trusted = (chain.read_text(), key.read_text()), (host.etc / "tls" / "ca.crt").read_text()
    server.kill()
    chain.write_text(pem)
    key.write_text(key_pem)
    server.start()
    (host.etc / "tls" / "ca.crt").write_text(pem)
    host.forget()
    try:
        with pytest.raises(CommandExecutionError, match=f"{words} at this machine's time"):
            host.modules.voip_vault.held()
    finally:
        server.kill()
        chain.write_text(kept[0])
        key.write_text(kept[1])
        (host.etc / "tls" / "ca.crt").write_text(trusted)
        server.start()
        assert provisioned.states.openbao.unsealed("openbao").result is True
    host.forget()
    assert host.modules.voip_vault.is_enrolled() is True


def _now():
    return datetime.datetime.now(datetime.UTC)


def _certificate(begins, ends):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    names = x509.SubjectAlternativeName([x509.DNSName("devstack.voip.test")])
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, begins, ends)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    pem = made.add_extension(names, critical=False).sign(key, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return pem.public_bytes(serialization.Encoding.PEM).decode(), private.decode()
