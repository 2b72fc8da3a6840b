"""Certificates as data: what makes one no longer good, and what makes a root a root."""

import datetime
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

sys.path[:0] = [str(Path(__file__).parents[2] / "_utils")]

import voip_scram  # noqa: E402
import voip_x509  # noqa: E402

WANTED = {"alt_names": ["a.test"], "ip_sans": ["127.0.0.1"], "renew_fraction": 0.33}
NOW = datetime.datetime.now(datetime.UTC)


@pytest.fixture(scope="module")
def root():
    key, _ = voip_x509.new_key()
    return key, voip_x509.self_signed(key, "root", ["root.test"], [], days=100)


@pytest.fixture(scope="module")
def leaf(root):
    key, key_pem = voip_x509.new_key()
    csr = x509.load_pem_x509_csr(
        voip_x509.request(key, "a.test", WANTED["alt_names"], WANTED["ip_sans"]).encode()
    )
    names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(csr.subject)
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "root")]))
        .public_key(csr.public_key())
        .serial_number(7)
        .not_valid_before(NOW)
        .not_valid_after(NOW + datetime.timedelta(days=90))
        .add_extension(names.value, critical=False)
        .sign(root[0], hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), key_pem


def shortcoming(leaf, root, wanted=WANTED, days=0, key=None):
    now = NOW + datetime.timedelta(days=days)
    return voip_x509.shortcoming(leaf[0], key or leaf[1], root[1], wanted, now)


def test_good(leaf, root):
    assert shortcoming(leaf, root) is None
    assert shortcoming(leaf, root, days=60) is None


@pytest.mark.parametrize("days", [61, 90, 200])
def test_ends_soon(leaf, root, days):
    assert shortcoming(leaf, root, days=days).startswith("it ends on ")


def test_due_where_shortcoming_begins(leaf, root):
    due = voip_x509.due(leaf[0], WANTED["renew_fraction"])
    second = datetime.timedelta(seconds=1)
    assert voip_x509.shortcoming(leaf[0], leaf[1], root[1], WANTED, due - second) is None
    assert "it ends on" in voip_x509.shortcoming(leaf[0], leaf[1], root[1], WANTED, due)


def test_a_clock_that_is_behind(leaf, root):
    assert "is this machine's clock right" in shortcoming(leaf, root, days=-1)


@pytest.mark.parametrize(
    "other", [{"alt_names": ["b.test"]}, {"alt_names": ["a.test", "b.test"]}, {"ip_sans": []}]
)
def test_names_differ(leaf, root, other):
    assert shortcoming(leaf, root, WANTED | other) == "the names differ"


def test_key_of_another(leaf, root):
    assert "not of this key" in shortcoming(leaf, root, key=voip_x509.new_key()[1])


def test_root_of_another(leaf):
    key, _ = voip_x509.new_key()
    other = (key, voip_x509.self_signed(key, "root", ["root.test"], []))
    assert "root CA" in shortcoming(leaf, other)


@pytest.mark.parametrize("text", ["", "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----"])
def test_unreadable(leaf, root, text):
    assert "cannot be read" in voip_x509.shortcoming(text, leaf[1], root[1], WANTED)


def test_root_is_a_root(root, leaf):
    assert voip_x509.problem_of_root(root[1]) is None
    assert voip_x509.problem_of_root(leaf[0]) is not None
    assert voip_x509.problem_of_root("nothing") is not None


def test_keys_are_p256():
    key, pem = voip_x509.new_key()
    assert key.curve.name == "secp256r1"
    assert "PRIVATE KEY" in pem


def test_scram_verifier_of_rfc_7677():
    # The example of RFC 7677, section 3, in PostgreSQL's form.
    import base64

    text = voip_scram.verifier("pencil", base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="))
    assert text.startswith("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$")
    assert text.endswith(":wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=")
    assert voip_scram.is_verifier_of(text, "pencil")
    assert not voip_scram.is_verifier_of(text, "pen")
    assert not voip_scram.is_verifier_of("md5abc", "pencil")
    assert not voip_scram.is_verifier_of(None, "pencil")
