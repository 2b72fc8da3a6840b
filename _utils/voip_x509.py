"""Certificates as data: what one holds, what one lacks, and making keys and requests. No I/O."""

import datetime
import ipaddress

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_TIME = "%Y-%m-%d %H:%M:%S UTC"


def new_key():
    """Return a new P-256 key and its PEM (PKCS#8, not encrypted: the file's mode protects it)."""
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return key, pem.decode()


def request(key, common_name, alt_names, ip_sans):
    """Return the PEM of a CSR for `key` with these names."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(_subject(common_name))
    builder = builder.add_extension(_alternatives(alt_names, ip_sans), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def self_signed(key, common_name, alt_names, ip_sans, days=7):
    """Return the PEM of a self-signed certificate that is its own trust anchor."""
    now = datetime.datetime.now(datetime.UTC)
    subject = _subject(common_name)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(_alternatives(alt_names, ip_sans), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def shortcoming(chain_pem, key_pem, ca_pem, wanted, now=None):
    """Return why a certificate must be replaced, None when it need not be.

    chain_pem: leaf, then intermediates. wanted: dict with alt_names, ip_sans, renew_fraction.
    now: aware datetime, the present by default.
    """
    now = now or datetime.datetime.now(datetime.UTC)
    try:
        chain = x509.load_pem_x509_certificates(chain_pem.encode())
        key = serialization.load_pem_private_key(key_pem.encode(), None)
    except ValueError:
        return "the certificate or its key cannot be read"
    leaf = chain[0]
    if leaf.public_key().public_numbers() != key.public_key().public_numbers():
        return "the certificate is not of this key"
    if not is_chained(chain, ca_pem):
        return "the certificate does not lead to the platform's root CA"
    if names_of(leaf) != _wanted_names(wanted):
        return "the names differ"
    if now < leaf.not_valid_before_utc:
        return f"it begins on {leaf.not_valid_before_utc:{_TIME}}: is this machine's clock right?"
    if now >= _due(leaf, wanted["renew_fraction"]):
        return f"it ends on {leaf.not_valid_after_utc:{_TIME}}"
    return None


def due(chain_pem, renew_fraction):
    """Return when the first certificate of a chain is to be renewed, an aware datetime.

    renew_fraction: the part of its life that must be left, 0.33 for a third. Its life begins a
    little before it was signed (pki.backdate_s), for hosts whose clocks are behind.
    """
    return _due(x509.load_pem_x509_certificates(chain_pem.encode())[0], renew_fraction)


def life(chain_pem):
    """Return ((begin, end), serial) of the first certificate: epochs, and the number in hex."""
    leaf = x509.load_pem_x509_certificates(chain_pem.encode())[0]
    span = (leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp())
    return span, f"{leaf.serial_number:x}"


def _due(leaf, renew_fraction):
    life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    return leaf.not_valid_after_utc - life * renew_fraction


def is_chained(chain, ca_pem):
    """Tell whether each certificate is signed by the next and the last one by the root."""
    root = x509.load_pem_x509_certificate(ca_pem.encode())
    try:
        for child, issuer in zip(chain, [*chain[1:], root], strict=True):
            child.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def problem_of_root(pem):
    """Return why `pem` is not a usable root CA certificate, None when it is."""
    try:
        root = x509.load_pem_x509_certificate(pem.encode())
        constraints = root.extensions.get_extension_for_class(x509.BasicConstraints).value
        root.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound) as err:
        return f"not a self-signed CA certificate ({type(err).__name__})"
    if not constraints.ca:
        return "not a CA certificate"
    if root.not_valid_after_utc < datetime.datetime.now(datetime.UTC):
        return f"it ended on {root.not_valid_after_utc:%Y-%m-%d}"
    return None


def names_of(certificate):
    """Return the certificate's DNS names and addresses as one sorted list of strings."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return sorted(str(name.value) for name in names)


def describe(chain_pem):
    """Return {"names", "issuer", "authority", "serial", "not_after", "life_s"} of a chain's first.

    authority: its issuer's key identifier in hex, None of one that does not say.
    """
    leaf = x509.load_pem_x509_certificates(chain_pem.encode())[0]
    return {
        "names": names_of(leaf),
        "issuer": leaf.issuer.rfc4514_string(),
        "authority": _authority(leaf),
        "serial": f"{leaf.serial_number:x}",
        "not_after": leaf.not_valid_after_utc.isoformat(),
        "life_s": int((leaf.not_valid_after_utc - leaf.not_valid_before_utc).total_seconds()),
    }


def key_identifier(pem):
    """Return a CA certificate's own key identifier in hex: `authority` of what it signs."""
    certificate = x509.load_pem_x509_certificate(pem.encode())
    found = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return found.digest.hex()


def common_name(pem):
    """Return the common name of a certificate, "" of one that has none."""
    subject = x509.load_pem_x509_certificate(pem.encode()).subject
    names = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def is_ca(pem):
    """Tell whether a certificate may sign others."""
    extensions = x509.load_pem_x509_certificate(pem.encode()).extensions
    try:
        return extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _authority(certificate):
    try:
        found = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    except x509.ExtensionNotFound:
        return None
    return (found.key_identifier or b"").hex() or None


def _wanted_names(wanted):
    return sorted({*wanted["alt_names"], *wanted["ip_sans"]})


def _subject(common_name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _alternatives(alt_names, ip_sans):
    names = [x509.DNSName(name) for name in alt_names]
    return x509.SubjectAlternativeName(
        [*names, *(x509.IPAddress(ipaddress.ip_address(item)) for item in ip_sans)]
    )
