"""What a port does to somebody: the lab tests hand this file to `python3 -` in a guest.

Standard library only. Argument: a JSON object {"do": ..., "address", "port", ...}; the answer is
one JSON value on stdout.
"""

import base64
import json
import re
import select
import socket
import ssl
import sys
import time

TIMEOUT_S = 2


def tcp(address, port, **_):
    """ "open", "refused" or "silent"."""
    try:
        socket.create_connection((address, port), TIMEOUT_S).close()
    except ConnectionRefusedError:
        return "refused"
    except OSError:
        return "silent"
    return "open"


def ng(address, port, **_):
    """RTPEngine's answer to a ping, or "silent"."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.settimeout(TIMEOUT_S)
        try:
            link.connect((address, port))
            link.send(b"lab d7:command4:pinge")
            return link.recv(1500).decode()
        except OSError:
            return "silent"


def plain(address, port, text="\r\n", **_):
    """What comes back for a line in the clear: "" when the other side just closes."""
    with socket.create_connection((address, port), TIMEOUT_S) as link:
        link.sendall(text.encode())
        try:
            return link.recv(4096).decode("ascii", "replace")
        except OSError:
            return ""


def tls(address, port, name, ca, text="", client=None, version=None, timeout_s=TIMEOUT_S, **_):
    """{"version", "serial", "answer"} of a verified connection, or {"error"}."""
    try:
        context = ssl.create_default_context(cafile=ca)
        if client:
            context.load_cert_chain(*client)
        if version:
            context.maximum_version = ssl.TLSVersion[version]
        link = socket.create_connection((address, port), timeout_s)
        with link, context.wrap_socket(link, server_hostname=name) as secure:
            # A TLS 1.3 server refuses the client's certificate after the handshake: read.
            secure.sendall((text or "\r\n\r\n").encode())
            found = {"version": secure.version(), "serial": secure.getpeercert()["serialNumber"]}
            return found | {"answer": secure.recv(65536).decode()}
    except OSError as err:
        return {"error": str(err)}


def ami_login(path, spoil="", **where):
    """The answers to a log-in with the user and secret of a manager.conf, spoil appended."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    user = re.findall(r"^\[(.*)\]", text, re.MULTILINE)[1]  # the first is [general]
    secret = re.search(r"^secret = (.*)$", text, re.MULTILINE)[1]
    return _logged_in(
        f"Action: Login\r\nUsername: {user}\r\nSecret: {secret}{spoil}\r\n\r\n", where
    )


def _logged_in(text, where):
    timeout_s = where.get("timeout_s", TIMEOUT_S)
    link = socket.create_connection((where["address"], where["port"]), timeout_s)
    if where.get("ca"):
        context = ssl.create_default_context(cafile=where["ca"])
        link = context.wrap_socket(link, server_hostname=where["name"])
    with link:
        link.sendall(text.encode())
        answer = ""
        while "Message:" not in answer and (data := link.recv(4096)):
            answer += data.decode()
    return re.search(r"Message: (.*)\r", answer)[1]


def ari(path, spoil="", **where):
    """The HTTP status of a request with the user and password of an ari.conf, spoil appended."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    user = re.findall(r"^\[(.*)\]", text, re.MULTILINE)[1]  # the first is [general]
    password = re.search(r"^password = (.*)$", text, re.MULTILINE)[1]
    token = base64.b64encode(f"{user}:{password}{spoil}".encode()).decode()
    request = (
        f"GET /ari/asterisk/info?only=status HTTP/1.1\r\nHost: {where['name']}\r\n"
        f"Authorization: Basic {token}\r\nConnection: close\r\n\r\n"
    )
    found = tls(text=request, **where)
    return found.get("answer", "").partition("\r\n")[0] or found["error"]


def logins(manager, rest):
    """Log in by AMI and ARI over and over, as the files say, until standard input ends.

    manager, rest: arguments of ami_login and ari. Returns {"done", "failures"}.
    """
    done, failures = 0, []
    while not select.select([sys.stdin], [], [], 0.5)[0]:
        for ask, where, good in (
            (ami_login, manager, "Authentication accepted"),
            (ari, rest, "HTTP/1.1 200 OK"),
        ):
            done += 1
            found = _asked(ask, where)
            if found != good:
                failures.append([time.time(), found])
    return {"done": done, "failures": failures}


def _asked(ask, where):
    try:
        return ask(**where)
    except OSError as err:
        return str(err)


if __name__ == "__main__":
    wanted = json.loads(sys.argv[1])
    print(json.dumps(globals()[wanted.pop("do")](**wanted)))
