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
    with socket.create_connection((address, port), timeout_s) as plain:
        if negotiation:
            NEGOTIATIONS[negotiation](plain)
        with context.wrap_socket(plain) as link:
            found = hashlib.sha256(link.getpeercert(binary_form=True)).hexdigest()
            # Parting in good order: some servers log an error for a connection that just ends.
            with contextlib.suppress(OSError):
                link.settimeout(0.05)
                link.unwrap()
            return found
