"""A SIP client as small as it can be, for negative tests: it says exactly what it is told to say.

Standard library only: the lab tests hand this file to `python3 -` in client-1, with one JSON object
as its argument: {"do": "register", ...}. The answer is one JSON object on stdout.
"""

import base64
import hashlib
import json
import os
import re
import secrets
import select
import socket
import ssl
import struct
import sys
import time


class Link:
    """One connection: send a SIP message, receive one.

    transport: udp, tcp, tls, ws, wss. ca: PEM, what the other side's certificate is verified by;
    client: [certificate file, key file]. tls_max: "TLSv1_1" and the like: offer nothing newer.
    """

    def __init__(
        self,
        transport,
        address,
        port,
        server_name=None,
        ca=None,
        source=None,
        client=None,
        tls_max=None,
        timeout_s=8,
    ):
        self.transport = transport
        self._buffer = b""
        kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.socket = socket.socket(family, kind)
        self.socket.settimeout(timeout_s)
        if source:
            self.socket.bind((source, 0))
        self.socket.connect((address, port))
        host, port = self.socket.getsockname()[:2]
        self.local = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        if transport in ("tls", "wss"):
            self.socket = _context(ca, client, tls_max).wrap_socket(
                self.socket, server_hostname=server_name
            )
        if transport in ("ws", "wss"):
            self._upgrade(server_name or address)

    def _upgrade(self, host):
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET / HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Protocol: sip\r\n\r\n".encode()
        )
        head = self._until(b"\r\n\r\n").decode()
        if " 101 " not in head.splitlines()[0]:
            raise ConnectionError(head.splitlines()[0])

    def tls(self):
        """(version, cipher) of the connection, or None."""
        if self.transport not in ("tls", "wss"):
            return None
        return [self.socket.version(), self.socket.cipher()[0]]

    def send(self, message):
        data = message if isinstance(message, bytes) else message.encode()
        if self.transport in ("ws", "wss"):
            data = _frame(data)
        self.socket.sendall(data)

    def receive(self):
        """The next SIP message as text. Raises TimeoutError, ConnectionError."""
        if self.transport == "udp":
            return self.socket.recv(65535).decode()
        if self.transport in ("ws", "wss"):
            return self._receive_frame().decode()
        head = self._until(b"\r\n\r\n")
        length = re.search(rb"(?im)^(?:content-length|l)\s*:\s*(\d+)", head)
        return (head + self._exactly(int(length.group(1)) if length else 0)).decode()

    def final(self):
        """The next final reply."""
        while True:
            message = self.receive()
            if message.startswith("SIP/2.0 ") and not message.startswith("SIP/2.0 1"):
                return message

    def _more(self):
        data = self.socket.recv(65535)
        if not data:
            raise ConnectionError("closed by the other side")
        self._buffer += data

    def _until(self, mark):
        while mark not in self._buffer:
            self._more()
        head, _, self._buffer = self._buffer.partition(mark)
        return head + mark

    def _exactly(self, size):
        while len(self._buffer) < size:
            self._more()
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def _receive_frame(self):
        while True:
            kind, length = self._exactly(2)
            length &= 0x7F
            if length == 126:
                (length,) = struct.unpack("!H", self._exactly(2))
            elif length == 127:
                (length,) = struct.unpack("!Q", self._exactly(8))
            data = self._exactly(length)
            if kind & 0x0F in (1, 2):
                return data
            if kind & 0x0F == 8:
                raise ConnectionError("WebSocket closed by the other side")


def _context(ca, client, tls_max):
    context = ssl.create_default_context(cadata=ca) if ca else _unverified()
    if client:
        context.load_cert_chain(*client)
    if tls_max:
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.maximum_version = ssl.TLSVersion[tls_max]
    return context


def _unverified():
    """For the checks whose point is not our certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _frame(data):
    mask = os.urandom(4)
    head = b"\x81"
    if len(data) < 126:
        head += struct.pack("!B", 0x80 | len(data))
    elif len(data) < 65536:
        head += struct.pack("!BH", 0x80 | 126, len(data))
    else:
        head += struct.pack("!BQ", 0x80 | 127, len(data))
    return head + mask + bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))


def build(
    link,
    method,
    uri,
    user,
    domain,
    cseq=1,
    call_id=None,
    tag=None,
    headers=(),
    body="",
    to=None,
    max_forwards=70,
    contact=True,
    display="",
):
    """A request with everything that RFC 3261 demands. display: before the address of From.

    contact: what it says, True for the address of this end.
    """
    via = {"ws": "WS", "wss": "WSS"}.get(link.transport, link.transport.upper())
    lines = [
        f"{method} {uri} SIP/2.0",
        f"Via: SIP/2.0/{via} {link.local};branch=z9hG4bK{secrets.token_hex(8)};rport",
        f"Max-Forwards: {max_forwards}",
        f"From: {display}<sip:{user}@{domain}>;tag={tag or secrets.token_hex(6)}",
        f"To: <{to or f'sip:{user}@{domain}'}>",
        f"Call-ID: {call_id or secrets.token_hex(12)}",
        f"CSeq: {cseq} {method}",
    ]
    if contact is True:
        transport = link.transport.replace("wss", "ws")
        contact = f"<sip:{user}@{link.local};transport={transport}>"
    if contact:
        lines.append(f"Contact: {contact}")
    lines += [*headers, f"Content-Length: {len(body.encode())}"]
    return "\r\n".join(lines) + "\r\n\r\n" + body


def digest(challenge, user, password, method, uri, nc=1):
    """The Authorization (or Proxy-Authorization) header that answers a 401 or 407."""
    found = re.search(r"(?im)^(WWW|Proxy)-Authenticate:\s*Digest\s+(.*?)\r?$", challenge)
    kind, value = found.groups()
    given = dict(re.findall(r'(\w+)="?([^",]+)"?', value))

    def hashed(text):
        return hashlib.md5(text.encode()).hexdigest()  # noqa: S324 (RFC 3261's digest)

    ha1 = hashed(f"{user}:{given['realm']}:{password}")
    ha2 = hashed(f"{method}:{uri}")
    client_nonce = secrets.token_hex(8)
    response = hashed(f"{ha1}:{given['nonce']}:{nc:08x}:{client_nonce}:auth:{ha2}")
    name = "Authorization" if kind.upper() == "WWW" else "Proxy-Authorization"
    return (
        f'{name}: Digest username="{user}", realm="{given["realm"]}", nonce="{given["nonce"]}", '
        f'uri="{uri}", response="{response}", algorithm=MD5, cnonce="{client_nonce}", '
        f"qop=auth, nc={nc:08x}"
    )


def status(message):
    """[code, reason] of a reply."""
    _, code, reason = message.splitlines()[0].split(" ", 2)
    return [int(code), reason]


def header(message, name):
    """The value of a header, or None."""
    found = re.search(rf"(?im)^{re.escape(name)}:\s*(.*?)\r?$", message)
    return found.group(1) if found else None


def do_request(link, domain, method="OPTIONS", uri=None, user="1001", repeat=1, **options):
    """One request as told; what came back."""
    message = build(link, method, uri or f"sip:{domain}", user, domain, **options)
    for _ in range(repeat):
        link.send(message)
    reply = link.final()
    return {
        "status": status(reply),
        "warning": header(reply, "Warning"),
        "tls": link.tls(),
        "reply": reply,
    }


def do_raw(link, domain, text):
    """Text as told; the first line of the answer, or how the connection ended."""
    link.send(text)
    try:
        reply = link.receive()
    except (TimeoutError, ConnectionError) as err:
        return {"status": None, "end": type(err).__name__}
    head = reply.splitlines()[0]
    return {"head": head, "status": status(reply) if head.startswith("SIP/") else None}


def do_malformed(link, domain, change):
    """An OPTIONS with one piece of text replaced; the answer, or how the connection ended."""
    message = build(link, "OPTIONS", f"sip:{domain}", "1001", domain)
    return do_raw(link, domain, message.replace(*change))


def do_in_dialog(link, domain, route, uri, user="1001", password=None):
    """A BYE of a dialog that never was, by way of `route`; registers first, given a password."""
    if password is not None:
        do_register(link, domain, user, password)
    message = build(link, "BYE", uri, user, domain, headers=[f"Route: <{route}>"])
    link.send(re.sub(r"(?m)^(To: .*)\r$", r"\1;tag=x\r", message))
    return {"status": status(link.final())}


def do_hold(link, domain, user="1001", password="", expires=120):
    """Register, tell, and stay connected until standard input ends."""
    print(json.dumps(do_register(link, domain, user, password, expires)), flush=True)
    sys.stdin.read()
    return {}


def do_registrations(link, domain, user="1001", password=""):
    """Register once for each line of standard input, which says how (do_register)."""
    for line in sys.stdin:
        print(json.dumps(do_register(link, domain, user, password, **json.loads(line))), flush=True)
    return {}


def do_register_often(link, domain, user="1001", password="", pause_s=0.3):
    """Register over and over until standard input ends; how often, and what went wrong when."""
    done, failures = 0, []
    while not select.select([sys.stdin], [], [], pause_s)[0]:
        done += 1
        try:
            statuses = do_register(link, domain, user, password)["statuses"]
        except OSError as err:
            failures.append([time.time(), str(err)])
            break
        if [code for code, _ in statuses] != [401, 200]:
            failures.append([time.time(), statuses])
    return {"done": done, "failures": failures}


def do_register(
    link,
    domain,
    user="1001",
    password="",
    expires=120,
    replay=False,
    from_user=None,
    beside=None,
    contact=True,
):
    """Register; with replay, send the accepted credentials a second time. Returns every status.

    beside: whose made-up credentials stand in a Proxy-Authorization beside one's own.
    """
    uri, call_id = f"sip:{domain}", secrets.token_hex(12)
    extra = [f"Expires: {expires}"]
    shared = {"call_id": call_id, "tag": secrets.token_hex(6), "contact": contact}
    name = from_user or user
    link.send(build(link, "REGISTER", uri, name, domain, headers=extra, **shared))
    reply = link.final()
    statuses = [status(reply)]
    if statuses[0][0] != 401:
        return {"statuses": statuses, "tls": link.tls()}
    credentials = digest(reply, user, password, "REGISTER", uri)
    if beside:
        made_up = digest(reply, beside, "made up", "REGISTER", uri)
        extra.append(f"Proxy-{made_up}")
    for number in range(2, 4 if replay else 3):
        link.send(
            build(
                link,
                "REGISTER",
                uri,
                name,
                domain,
                cseq=number,
                headers=[*extra, credentials],
                **shared,
            )
        )
        reply = link.final()
        statuses.append(status(reply))
    return {
        "statuses": statuses,
        "tls": link.tls(),
        "contact": header(reply, "Contact"),
        "local": link.local,
        "challenge": header(reply, "WWW-Authenticate"),
        "call_id": call_id,
    }


def do_call(
    link,
    domain,
    user="1001",
    password="",
    to="1002",
    body="",
    from_user=None,
    headers=(),
    content_type="application/sdp",
    hold_s=None,
    display="",
    refer_to=None,
    beside=None,
):
    """INVITE with credentials; the final statuses. Registers nothing, sends no media.

    hold_s: a call that is answered goes on for so long and is hung up. display: see build.
    refer_to: where such a call is to be transferred; the status of that is the last.
    beside: whose made-up credentials, of another realm, stand before one's own.
    """
    uri, call_id = f"sip:{to}@{domain}", secrets.token_hex(12)
    extra = [*headers, *([f"Content-Type: {content_type}"] if body else [])]
    shared = {"call_id": call_id, "tag": secrets.token_hex(6), "to": uri, "body": body}
    shared["display"] = display
    name = from_user or user
    link.send(build(link, "INVITE", uri, name, domain, headers=extra, **shared))
    reply = link.final()
    statuses = [status(reply)]
    if statuses[0][0] == 407:
        link.send(_acknowledge(link, uri, reply))
        if beside:
            made_up = digest(reply, beside, "made up", "INVITE", uri)
            extra.append(made_up.replace(f'realm="{domain}"', 'realm="elsewhere.test"'))
        extra.append(digest(reply, user, password, "INVITE", uri))
        link.send(build(link, "INVITE", uri, name, domain, cseq=2, headers=extra, **shared))
        reply = link.final()
        statuses.append(status(reply))
    if hold_s is not None and status(reply)[0] == 200:
        number = int(header(reply, "CSeq").split()[0])
        link.send(_in_call(link, "ACK", reply, number))
        if refer_to:
            wanted = [f"Refer-To: <{refer_to}>", f"Contact: <sip:{user}@{link.local}>"]
            link.send(_in_call(link, "REFER", reply, number + 1, wanted))
            statuses.append(status(link.final()))
        time.sleep(hold_s)
        link.send(_in_call(link, "BYE", reply, number + 2))
        link.final()
    else:
        link.send(_acknowledge(link, uri, reply))
    return {
        "statuses": statuses,
        "warning": header(reply, "Warning"),
        "retry_after": header(reply, "Retry-After"),
        "reply": reply,
    }


def do_called(link, domain, user="1002", password="", answer="486 Busy Here", headers=()):
    """Register, tell, and answer the next call; its INVITE as it came. Registered no more then.

    headers: more of the answer's. A call that is answered 200 is not for here: there is no media.
    """
    print(json.dumps(do_register(link, domain, user, password)), flush=True)
    while not (invite := link.receive()).startswith("INVITE "):
        pass
    kept = re.findall(r"(?im)^(?:Via|Record-Route):.*?\r?$", invite)
    kept += [f"{name}: {header(invite, name)}" for name in ("From", "Call-ID", "CSeq")]
    kept += [f"To: {header(invite, 'To')};tag={secrets.token_hex(6)}", *headers]
    lines = [f"SIP/2.0 {answer}", *(line.strip() for line in kept), "Content-Length: 0", "", ""]
    link.send("\r\n".join(lines))
    while not link.receive().startswith("ACK "):
        pass
    do_register(link, domain, user, password, expires=0)
    return {"invite": invite}


def do_calls(link, domain, count, pause_s=0.0, **call):
    """`count` calls one after the other; the last status of each."""
    found = []
    for _ in range(count):
        found.append(do_call(link, domain, **call)["statuses"][-1])
        time.sleep(pause_s)
    return {"last": found}


def do_invites(link, domain, requests):
    """INVITEs without ACK or credentials of ours: [uri, [header, ...]] each; their final statuses.

    A header "NONCE" becomes credentials with the last challenge's nonce and a made-up response.
    """
    found, challenge = [], None
    for uri, headers in requests:
        if challenge is None and "NONCE" in headers:
            raise ValueError("the first request gets the challenge")
        extra = [
            digest(challenge, "1001", "guessed", "INVITE", uri) if item == "NONCE" else item
            for item in headers
        ]
        link.send(build(link, "INVITE", uri, "1001", domain, headers=extra))
        reply = link.final()
        if status(reply)[0] == 407:
            challenge = reply
        found.append(status(reply))
    return {"statuses": found}


def do_guess(link, domain, count, users=("1001",), pause_s=0.08):
    """Log-ins with a wrong password, of each user in turn: the codes, None where none came."""
    found = []
    link.socket.settimeout(1)
    for number in range(count):
        try:
            result = do_register(link, domain, users[number % len(users)], "wrong")
        except OSError:
            found.append(None)
            break
        found.append(result["statuses"][-1][0])
        time.sleep(pause_s)
    return {"codes": found}


def do_time_refusals(link, domain, users, pause_s=0.06):
    """A wrong password of each user: [[user, code, seconds until the answer], ...]."""
    found, uri = [], f"sip:{domain}"
    for user in users:
        shared = {"call_id": secrets.token_hex(12), "tag": secrets.token_hex(6)}
        link.send(build(link, "REGISTER", uri, user, domain, **shared))
        wrong = digest(link.final(), user, "wrong", "REGISTER", uri)
        message = build(link, "REGISTER", uri, user, domain, cseq=2, headers=[wrong], **shared)
        began = time.perf_counter()
        link.send(message)
        reply = link.final()
        found.append([user, status(reply)[0], time.perf_counter() - began])
        time.sleep(pause_s)
    return {"times": found}


def _in_call(link, method, reply, cseq, headers=()):
    """A request of a call that was answered by `reply`: by its Record-Route, to its Contact."""
    routes = re.findall(r"(?im)^Record-Route:\s*(.*?)\r?$", reply)
    via = {"ws": "WS", "wss": "WSS"}.get(link.transport, link.transport.upper())
    lines = [
        f"{method} {re.search('<([^>]+)>', header(reply, 'Contact')).group(1)} SIP/2.0",
        f"Via: SIP/2.0/{via} {link.local};branch=z9hG4bK{secrets.token_hex(8)};rport",
        "Max-Forwards: 70",
        *(f"Route: {route}" for route in reversed(routes)),
        *(f"{name}: {header(reply, name)}" for name in ("From", "To", "Call-ID")),
    ]
    lines += [f"CSeq: {cseq} {method}", *headers, "Content-Length: 0", "", ""]
    return "\r\n".join(lines)


def _acknowledge(link, uri, reply):
    """ACK for a refusal: the INVITE's Via, From, Call-ID, the reply's To."""
    number = header(reply, "CSeq").split()[0]
    lines = [f"ACK {uri} SIP/2.0", f"Via: {header(reply, 'Via')}", "Max-Forwards: 70"]
    lines += [f"{name}: {header(reply, name)}" for name in ("From", "To", "Call-ID")]
    return "\r\n".join([*lines, f"CSeq: {number} ACK", "Content-Length: 0", "", ""])


def main(order):
    """Open the connection that `order` describes and do what it says."""
    names = ("transport", "address", "port", "server_name", "ca", "source", "client", "tls_max",
             "timeout_s")  # fmt: skip
    where = {name: order[name] for name in names if name in order}
    what = {key: value for key, value in order.items() if key not in (*names, "do")}
    try:
        link = Link(**where)
        result = globals()["do_" + order["do"]](link, **what)
    except OSError as err:  # ssl.SSLError, TimeoutError and ConnectionError too
        result = {"failed": type(err).__name__, "why": str(err)}
    print(json.dumps(result))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
