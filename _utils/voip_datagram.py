"""Ask a daemon by a datagram socket: how both proxies take their JSON-RPC."""

import contextlib
import json
import os
import socket
import tempfile

from salt.exceptions import CommandExecutionError
from voip_errors import Unavailable

_ANSWER_BYTES = 1 << 20


def call(path, method, params, timeout_s=5):
    """Call one JSON-RPC method at socket `path`; returns (result, error), error None or a dict.

    Raises Unavailable where nobody listens, CommandExecutionError where no answer comes, or one
    that is not JSON.
    """
    request = {"jsonrpc": "2.0", "method": method, "params": params, "id": 1}
    answer = _exchange(path, json.dumps(request).encode(), timeout_s)
    try:
        decoded = json.loads(answer)
    except ValueError as err:
        raise CommandExecutionError(f"{method}: the proxy's answer is not JSON") from err
    return decoded.get("result"), decoded.get("error")


def _exchange(path, request, timeout_s):
    directory = os.path.dirname(path)
    if not os.path.isdir(directory):
        raise Unavailable("the proxy is not running")
    # Beside the proxy's own socket: it has a /tmp of its own.
    with tempfile.TemporaryDirectory(dir=directory, prefix="reply-") as room:
        own = os.path.join(room, "reply")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
            link.bind(own)
            # The proxy answers as its own user: it must reach our end, and nobody else needs to.
            _open_to_owner_of(directory, room, own)
            link.settimeout(timeout_s)
            try:
                link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ANSWER_BYTES)
                link.sendto(request, path)
                return link.recv(_ANSWER_BYTES)
            except TimeoutError as err:
                raise CommandExecutionError(
                    f"the proxy does not answer within {timeout_s} s"
                ) from err
            except OSError as err:
                raise Unavailable(f"the proxy is not running: {err.strerror}") from err


def _open_to_owner_of(directory, *paths):
    with contextlib.suppress(OSError):
        owner = os.stat(directory)
        for path in paths:
            os.chown(path, owner.st_uid, owner.st_gid)
