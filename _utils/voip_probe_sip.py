"""SIP OPTIONS over TLS (RFC 3261, section 11): any final reply to it comes from a living server."""

import re
import secrets

import voip_probe_link

_REQUEST = """\
OPTIONS sip:{domain} SIP/2.0
Via: SIP/2.0/TLS {address}:{local};branch=z9hG4bK{branch};rport
Max-Forwards: 1
From: <sip:health@{domain}>;tag={tag}
To: <sip:{domain}>
Call-ID: {call_id}
CSeq: 1 OPTIONS
Contact: <sip:health@{address}:{local};transport=tls>
User-Agent: voip-stack health
Content-Length: 0

"""


def ask(timeout_s, address, port, name, domain, ca_file, certificate=None):
    """certificate: (certificate, key) files: inside, the proxy and the PBX ask for one.

    Statuses: a proxy says 200; a PBX may say 404 or 401 and is alive; 500 and above is not well.
    """
    with voip_probe_link.tls(address, port, name, ca_file, timeout_s, certificate) as link:
        code = exchange(link, address, domain)
    if code >= 500:
        raise ValueError(f"answered {code}")


def exchange(link, address, domain):
    """Send one OPTIONS by `link`, a connection from `address`. Returns its reply's status code."""
    link.sendall(request(address, link.getsockname()[1], domain))
    return status(voip_probe_link.until(link, b"\r\n\r\n"))


def request(address, port, domain):
    """An OPTIONS from address:port, as bytes."""
    text = _REQUEST.format(
        domain=domain,
        address=address,
        local=port,
        branch=secrets.token_hex(8),
        tag=secrets.token_hex(6),
        call_id=secrets.token_hex(12),
    )
    return text.replace("\n", "\r\n").encode()


def status(reply):
    """The status code of a reply's first line. Raises ValueError for what is no SIP reply."""
    found = re.match(rb"SIP/2\.0 (\d{3}) ", reply)
    if not found:
        raise ValueError("answered something that is not SIP")
    return int(found.group(1))
