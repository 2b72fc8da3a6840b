"""A link that lets in its own users only: it serves when it shows everybody else the door.

The end of the connection is its answer, whether Redis behind it is there or not.
"""

import socket


def ask(timeout_s, address, port):
    """Raises where nobody listens, or nobody ends the connection."""
    with socket.create_connection((address, port), timeout_s) as link:
        if link.recv(1):
            raise ValueError("let in a stranger")
