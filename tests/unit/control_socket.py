"""A proxy's control socket for tests: JSON-RPC, a datagram for each question and answer."""

import contextlib
import json
import socket
import threading


@contextlib.contextmanager
def answering(path, reply):
    """Until the block ends, `path` answers each request with what reply(request) returns.

    request: {"id", "method", "params"}. An answer: {"result": ...}, {"error": {"code", "message"}}.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
        link.bind(str(path))

        def serve():
            while True:
                data, sender = link.recvfrom(65536)
                if not data:
                    return
                request = json.loads(data)
                body = {"jsonrpc": "2.0", "id": request["id"]} | reply(request)
                link.sendto(json.dumps(body).encode(), sender)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(b"", str(path))
        thread.join(5)
