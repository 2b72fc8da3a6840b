"""`SELECT 1` over a unix socket, by PostgreSQL's protocol 3.0 (manual, chapter "Frontend/Backend").

Both servers know who asks without a password: PostgreSQL by the peer map of root, the pooler by
its socket's group. A driver would hold 20 MiB for this one question.
"""

import os
import socket
import struct

_LARGEST = 1 << 20


def ask(timeout_s, socket_directory, port, user, database):
    """Raises where the row `1` does not come back."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.settimeout(timeout_s)
        link.connect(os.path.join(socket_directory, f".s.PGSQL.{port}"))
        words = f"user\0{user}\0database\0{database}\0application_name\0health\0\0".encode()
        link.sendall(struct.pack("!ii", len(words) + 8, 196608) + words)
        _until_ready(link)
        link.sendall(_message(b"Q", b"SELECT 1\0"))
        rows = [body for kind, body in _until_ready(link) if kind == b"D"]
        link.sendall(_message(b"X", b""))
    if rows != [b"\0\1\0\0\0\x011"]:
        raise ValueError("answered something else than one row")


def _until_ready(link):
    """The messages up to ReadyForQuery, as [(kind, body)]."""
    found = []
    while True:
        kind, length = struct.unpack("!ci", _exactly(link, 5))
        body = _exactly(link, min(length - 4, _LARGEST))
        found.append((kind, body))
        if kind == b"E":
            raise ValueError(error(body))
        if kind == b"R" and body[:4] != b"\0\0\0\0":
            raise ValueError("asks for a password")
        if kind == b"Z":
            return found


def error(body):
    """The words of an ErrorResponse (fields: one byte of kind, text, zero)."""
    fields = {part[:1]: part[1:] for part in body.split(b"\0") if part}
    return fields.get(b"M", b"an error").decode("utf-8", "replace")


def _message(kind, body):
    return kind + struct.pack("!i", len(body) + 4) + body


def _exactly(link, size):
    data = b""
    while len(data) < size:
        more = link.recv(size - len(data))
        if not more:
            raise ConnectionError("closed the connection")
        data += more
    return data
