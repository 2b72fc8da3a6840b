"""A verified TLS connection for a probe, closed in good order."""

import contextlib
import socket
import ssl

_GOODBYE_S = 0.01


class CannotAsk(OSError):
    """The probe's own files are not there or not whole: that says nothing about the daemon."""


@contextlib.contextmanager
def tls(address, port, name, ca_file, timeout_s, certificate=None):
    """A TLS socket to address:port that has shown a certificate of `name`.

    certificate: (certificate file, key file) of our own, where the daemon asks for one. Connects
    from `address` itself: a daemon that lets its own host in by address sees that one. Raises
    CannotAsk where these files are missing or do not fit each other.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file)
        if certificate:
            context.load_cert_chain(*certificate)
    except OSError as err:  # ssl.SSLError is one
        raise CannotAsk(f"cannot ask: {certificate or ca_file}: {err.strerror or err}") from err
    plain = socket.create_connection((address, port), timeout_s, (address, 0))
    try:
        with context.wrap_socket(plain, server_hostname=name) as link:
            yield link
            # Asterisk logs an error for a TLS connection that just ends: say goodbye. Not every
            # server says it too, and it is not waited for.
            link.settimeout(_GOODBYE_S)
            with contextlib.suppress(OSError):
                link.unwrap().close()
    finally:
        plain.close()


def until(link, mark, limit=65536):
    """Return what arrives up to and including `mark`. Raises OSError where it ends before."""
    found = b""
    while mark not in found:
        data = link.recv(4096)
        if not data or len(found) > limit:
            raise ConnectionError("closed the connection")
        found += data
    return found
