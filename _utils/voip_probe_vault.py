"""The Vault API's `sys/health`: 200 active; 503 sealed, which is told as such."""

import http.client

import voip_probe_link

_STATES = {429: "standby", 472: "standby", 473: "standby", 501: "not initialised", 503: "sealed"}


def ask(timeout_s, address, port, name, ca_file):
    """Raises ValueError("sealed") and the like unless the server is active."""
    with voip_probe_link.tls(address, port, name, ca_file, timeout_s) as link:
        link.sendall(
            f"GET /v1/sys/health HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode()
        )
        answer = http.client.HTTPResponse(link)
        answer.begin()
        answer.read()
    if answer.status != 200:
        raise ValueError(_STATES.get(answer.status, f"answered {answer.status}"))
