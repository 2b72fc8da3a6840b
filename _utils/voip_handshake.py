"""What certificate a server shows, by a handshake: verified by the root, or by the caller."""

import contextlib
import hashlib
import socket
import ssl
import struct

from cryptography import x509
from cryptography.hazmat.primitives import hashes


def _postgresql(link):
    """SSLRequest, answered by one byte (PostgreSQL: Frontend/Backend Protocol, SSLRequest)."""
    link.sendall(struct.pack("!ii", 8, 80877103))
    if link.recv(1) != b"S":
        raise ConnectionError("the server does not offer TLS")


# X509_V_FLAG_NO_CHECK_TIME of OpenSSL's x509_vfy.h: for what is replaced because it has ended.
NO_CHECK_TIME = ssl.VerifyFlags(0x200000)
# What a protocol says in the clear before TLS begins.
NEGOTIATIONS = {"postgresql": _postgresql}


def fingerprint(chain_pem):
    """Return the SHA-256 fingerprint, in hex, of the first certificate of a chain."""
    return x509.load_pem_x509_certificates(chain_pem.encode())[0].fingerprint(hashes.SHA256()).hex()


def shown(address, port, timeout_s=1.0, negotiation=None, pair=None, ca_file=None):
    """Return the SHA-256 fingerprint of the certificate that address:port shows.

    pair: (certificate file, key file) to show where a server asks for one; of TLS 1.3 its
    certificate is seen before it refuses ours. negotiation: a key of NEGOTIATIONS. ca_file: the
    root alone, that what is shown must lead to; without it nothing is verified.
    Raises ConnectionRefusedError where nothing listens, other OSErrors (ssl.SSLError and
    TimeoutError among them) where no handshake is had.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if ca_file:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(ca_file)
    if pair:
        context.load_cert_chain(*pair)
    with _connected(context, address, port, timeout_s, negotiation) as link:
        found = hashlib.sha256(link.getpeercert(binary_form=True)).hexdigest()
        with contextlib.suppress(OSError):
            _part(link)
        return found


def verified(context, name, address, port, timeout_s=1.0, negotiation=None):
    """Return the certificate (x509.Certificate) that address:port shows, verified by `context`.

    name: what the certificate must be for. Unlike `shown`, a server that then refuses our own
    certificate (in TLS 1.3 it says so after the handshake) raises ssl.SSLError as well.
    """
    with _connected(context, address, port, timeout_s, negotiation, name) as link:
        found = x509.load_der_x509_certificate(link.getpeercert(binary_form=True))
        try:
            _part(link)
        except ssl.SSLError as err:
            if "ALERT" in (err.reason or ""):
                raise
        except OSError:
            pass  # it just ended the connection, or says no goodbye: it had taken us
        return found


@contextlib.contextmanager
def _connected(context, address, port, timeout_s, negotiation, name=None):
    with socket.create_connection((address, port), timeout_s) as plain:
        if negotiation:
            NEGOTIATIONS[negotiation](plain)
        with context.wrap_socket(plain, server_hostname=name) as link:
            yield link


def _part(link):
    """Parting in good order: some servers log an error for a connection that just ends."""
    link.settimeout(0.05)
    link.unwrap()
