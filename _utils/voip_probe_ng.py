"""RTPEngine's ng `ping` (docs/ng_control_protocol.md)."""

import errno
import secrets
import socket

import voip_ng


def ask(timeout_s, address, port, floats=False):
    """Raises where the datagram's answer is not `pong`.

    floats: the address goes from host to host. While it is at another one, there is nothing to ask.
    """
    cookie = secrets.token_hex(8)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.settimeout(timeout_s)
        if floats:
            try:
                link.bind((address, 0))
            except OSError as err:
                if err.errno == errno.EADDRNOTAVAIL:
                    return
                raise
        # Connected: a closed port answers at once.
        link.connect((address, port))
        link.send(voip_ng.request(cookie, "ping"))
        answer = voip_ng.reply(link.recv(65535), cookie) or {}
    if answer.get("result") != "pong":
        raise ValueError("answered something else than pong")
