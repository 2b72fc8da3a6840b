"""SIP devices that play a ladder: who sends what, and what each must get, in that order.

Run in client-1 beside sip_probe.py, with one JSON object on standard input: {"domain", "relays",
"devices": {name: {"number", "password", "link": arguments of sip_probe.Link}}, "steps": [...]}, as
tests/lab/scenarios/README.md tells of them. Prints {"failed": None, or at which step and why}.

The devices do by themselves what every device does, and no ladder mentions: credentials, the ACK of
a refusal, 200 for CANCEL (with the INVITE's 487), BYE, NOTIFY, INFO, and for re-INVITEs and UPDATEs
of the other side that no step waits for.
"""

import contextlib
import json
import re
import secrets
import select
import sys
import time

import sip_probe as sip

PATIENCE_S = 6
QUIET_S = 1.5
MEDIA_PORT = 40000


class Wrong(Exception):
    """A device got something else than the ladder says."""


def sdp(link, words):
    """A body: `offer` or `answer`, and a direction if it is not sendrecv. Browsers have DTLS.

    words: may end in "in the clear": RTP.
    """
    direction = next((word for word in words if word.endswith(("only", "active"))), "sendrecv")
    host = link.local.rpartition(":")[0]
    if "clear" in words:
        profile, keys = "RTP/AVP", []
    elif link.transport == "wss":
        profile = "UDP/TLS/RTP/SAVPF"
        print_ = ":".join(f"{byte:02X}" for byte in secrets.token_bytes(32))
        keys = [
            f"a=fingerprint:sha-256 {print_}",
            "a=setup:actpass" if "offer" in words else "a=setup:active",
            f"a=ice-ufrag:{secrets.token_hex(4)}",
            f"a=ice-pwd:{secrets.token_hex(12)}",
            f"a=candidate:1 1 UDP 2130706431 {host} {MEDIA_PORT} typ host",
            "a=rtcp-mux",
        ]
    else:
        profile = "RTP/SAVP"
        keys = ["a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + secrets.token_hex(20)]
    lines = [
        "v=0", f"o=- {int(time.time())} {time.monotonic_ns()} IN IP4 {host}", "s=-",
        f"c=IN IP4 {host}", "t=0 0", f"m=audio {MEDIA_PORT} {profile} 8 101",
        "a=rtpmap:8 PCMA/8000", "a=rtpmap:101 telephone-event/8000", *keys, f"a={direction}",
    ]  # fmt: skip
    return "\r\n".join(lines) + "\r\n"


def body_of(message):
    return message.partition("\r\n\r\n")[2]


def method_of(message):
    """Of a request its method, of a reply its code."""
    words = message.split(" ", 2)
    return words[1] if words[0] == "SIP/2.0" else words[0]


def every(message, name):
    return re.findall(rf"(?im)^{re.escape(name)}:\s*(.*?)\r?$", message.partition("\r\n\r\n")[0])


def uri_in(value):
    found = re.search(r"<([^>]+)>", value)
    return found.group(1) if found else value.partition(";")[0]


class Call:
    """One dialog of a device, from either end. invite: the last INVITE, sent or received."""

    def __init__(self, local, remote, call_id):
        self.local, self.remote, self.call_id = local, remote, call_id
        self.routes, self.target, self.cseq = [], None, 0
        # pending: the request that a reply answers. answered: CSeq of the INVITE that got its 200.
        self.invite, self.pending, self.answered = None, None, None
        # What an INVITE that is challenged is sent again with.
        self.body, self.extra = "", []
        # Whether the ACK that comes is of an answer that no step of the ladder gave.
        self.has_silent_ack = False

    def learn(self, message, is_caller):
        """What the first message with both tags says of the way to the other end."""
        contact = sip.header(message, "Contact")
        if contact:
            self.target = uri_in(contact)
        routes = [item.strip() for row in every(message, "Record-Route") for item in row.split(",")]
        if routes and not self.routes:
            self.routes = routes[::-1] if is_caller else routes


class Device:
    """A user agent: its connection, its calls by name, what it has seen."""

    def __init__(self, name, domain, relays, number, password, link):
        self.name, self.domain, self.relays = name, domain, relays
        self.number, self.password = number, password
        self.link = sip.Link(**link)
        # everybody: all devices of the ladder: while one waits, the others go on.
        self.calls, self.seen, self.inbox, self.everybody = {}, set(), [], [self]
        self.registration = {"call_id": secrets.token_hex(12), "tag": secrets.token_hex(6)}
        self.registrations = 0
        self.own = f"<sip:{number}@{domain}>"
        kind = self.link.transport.replace("wss", "ws")
        self.contact = f"<sip:{number}@{self.link.local};transport={kind}>"

    # ---------------------------------------------------------------- registration

    def registers(self, step):
        """Registers, or with expires: 0 no more. contacts: how many the proxy then has."""
        expires, uri = step.get("expires", 600), f"sip:{self.domain}"
        credentials = []
        for _ in range(2):
            self.registrations += 1
            self.link.send(
                sip.build(
                    self.link, "REGISTER", uri, self.number, self.domain, cseq=self.registrations,
                    headers=[f"Expires: {expires}", *credentials], **self.registration,
                )
            )  # fmt: skip
            reply = self.link.final()
            if sip.status(reply)[0] != 401:
                break
            credentials = [sip.digest(reply, self.number, self.password, "REGISTER", uri)]
        code = step.get("code", 200)
        if sip.status(reply)[0] != code:
            raise Wrong(f"registers: {code} expected, {reply.splitlines()[0]}")
        found = sum(row.count("<sip:") for row in every(reply, "Contact"))
        if step.get("contacts", found) != found:
            raise Wrong(f"{step['contacts']} contacts expected: {every(reply, 'Contact')}")
        lives = re.search(r"(?i)expires=(\d+)", sip.header(reply, "Contact") or "")
        if "granted" in step and (not lives or int(lives.group(1)) != step["granted"]):
            raise Wrong(f"{step['granted']} s expected: {every(reply, 'Contact')}")

    # ---------------------------------------------------------------- sending

    def sends(self, what, step):
        call = self.calls.get(step.get("call", "call"))
        body = sdp(self.link, step["body"].split()) if step.get("body") else ""
        extra = [f"{name}: {value}" for name, value in step.get("headers", {}).items()]
        if what.isdigit():
            call.has_silent_ack = int(what) >= 300
            self._reply(call.pending, int(what), call, body, extra)
        elif what == "INVITE" and call is None:
            self._invite(step, body, extra)
        elif what == "ACK":
            self._request(call, "ACK", body, extra, cseq=call.answered)
        elif what == "CANCEL":
            lines = re.sub(r"(?im)^CSeq:.*$", "", call.invite.partition("\r\n\r\n")[0])
            kept = [
                line for line in lines.splitlines()
                if re.match(r"(?i)(via|from|to|call-id|max-forwards|route):", line)
            ]  # fmt: skip
            first = call.invite.splitlines()[0].replace("INVITE", "CANCEL", 1)
            tail = [f"CSeq: {call.cseq} CANCEL", "Content-Length: 0", "", ""]
            self.link.send("\r\n".join([first, *kept, *tail]))
        else:
            if what == "REFER":
                extra.append(self._refer_to(step))
            self._request(call, what, body, extra)

    def _invite(self, step, body, extra):
        to = step["to"]
        call = Call(
            f"{self.own};tag={secrets.token_hex(6)}",
            f"<sip:{to}@{self.domain}>",
            secrets.token_hex(12),
        )
        self.calls[step.get("call", "call")] = call
        call.target = f"sip:{to}@{self.domain}"
        call.body, call.extra = body, extra
        self._request(call, "INVITE", body, extra)

    def _refer_to(self, step):
        uri = f"sip:{step['to']}@{self.domain}"
        if "replaces" in step:
            other = self.calls[step["replaces"]]
            tag = {
                side: re.search(r"tag=([^;>]+)", value).group(1)
                for side, value in (("from", other.local), ("to", other.remote))
            }
            replaces = f"{other.call_id};to-tag={tag['to']};from-tag={tag['from']}"
            uri += "?Replaces=" + replaces.replace(";", "%3B").replace("=", "%3D")
        return f"Refer-To: <{uri}>"

    def _request(self, call, method, body, extra, cseq=None):
        if cseq is None:
            call.cseq += 1
            cseq = call.cseq
        via = self.link.transport.upper()
        lines = [
            f"{method} {call.target} SIP/2.0",
            f"Via: SIP/2.0/{via} {self.link.local};branch=z9hG4bK{secrets.token_hex(8)};rport",
            "Max-Forwards: 70",
            *(f"Route: {route}" for route in call.routes),
            f"From: {call.local}",
            f"To: {call.remote}",
            f"Call-ID: {call.call_id}",
            f"CSeq: {cseq} {method}",
            f"Contact: {self.contact}",
            *extra,
        ]
        if body:
            lines.append("Content-Type: application/sdp")
        message = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", body])
        if method == "INVITE":
            call.invite = message
        self.link.send(message)

    def _reply(self, request, code, call=None, body="", extra=()):
        to = sip.header(request, "To")
        if "tag=" not in to and code > 100 and call:
            to = call.local
        lines = [
            f"SIP/2.0 {code} {PHRASES.get(code, 'Reply')}",
            *(f"Via: {row}" for row in every(request, "Via")),
            *(f"Record-Route: {row}" for row in every(request, "Record-Route")),
            f"From: {sip.header(request, 'From')}",
            f"To: {to}",
            f"Call-ID: {sip.header(request, 'Call-ID')}",
            f"CSeq: {sip.header(request, 'CSeq')}",
            f"Contact: {self.contact}",
            *extra,
        ]
        if body:
            lines.append("Content-Type: application/sdp")
        self.link.send("\r\n".join([*lines, f"Content-Length: {len(body)}", "", body]))

    # ---------------------------------------------------------------- receiving

    def gets(self, what, step):
        wait_s, of_other_calls = step.get("within_s", PATIENCE_S), []
        deadline = time.monotonic() + wait_s
        while True:
            message = self._next(deadline - time.monotonic())
            if message is None:
                raise Wrong(f"{what} expected, nothing came within {wait_s} s")
            if self._is(message, what, step):
                self.inbox = of_other_calls + self.inbox
                return self._check(message, step)
            if self._deals_with(message):
                continue
            if self._call_of(message) not in (None, self.calls.get(step.get("call", "call"))):
                of_other_calls.append(message)
                continue
            raise Wrong(f"{what} expected, not {message.splitlines()[0]}")

    def gets_nothing(self, step):
        deadline = time.monotonic() + step.get("within_s", QUIET_S)
        while message := self._next(deadline - time.monotonic()):
            if not self._deals_with(message):
                raise Wrong(f"nothing expected, not {message.splitlines()[0]}")

    def _next(self, wait_s):
        """The next message that is neither a repetition nor a 100; None at the deadline."""
        deadline = time.monotonic() + wait_s
        while not self.inbox:
            if (left_s := deadline - time.monotonic()) <= 0:
                return None
            for device in readable(self.everybody, left_s):
                device.take()
        return self.inbox.pop(0)

    def take(self):
        """Read what has come: credentials that are asked for are given at once."""
        message = self.link.receive()
        via = every(message, "Via")
        mark = (method_of(message), sip.header(message, "CSeq"), via[0] if via else "")
        if not message.strip() or method_of(message) == "100" or mark in self.seen:
            return
        self.seen.add(mark)
        if method_of(message) != "407" or not self._deals_with(message):
            self.inbox.append(message)

    def _call_of(self, message):
        call_id = sip.header(message, "Call-ID")
        return next((call for call in self.calls.values() if call.call_id == call_id), None)

    def _is(self, message, what, step):
        """Whether this is what the step waits for; notes what it says of the call."""
        if method_of(message) != what:
            return False
        call, named = self._call_of(message), self.calls.get(step.get("call", "call"))
        if what == "INVITE" and call is None:
            remote, own = sip.header(message, "From"), sip.header(message, "To")
            call = Call(f"{own};tag={secrets.token_hex(6)}", remote, sip.header(message, "Call-ID"))
            self.calls[step.get("call", "call")] = call
            call.learn(message, is_caller=False)
        elif call is not named or (
            what == "NOTIFY" and not re.search(step.get("text", ""), body_of(message))
        ):
            return False
        if what.isdigit():
            number, method = sip.header(message, "CSeq").split()
            if step.get("of", method) != method or method == "CANCEL":
                return False
            self._learn_reply(call, message, int(what), int(number), method)
        else:
            self._take_request(call, message, what, step)
        return True

    def _learn_reply(self, call, reply, code, number, method):
        if "tag=" in sip.header(reply, "To") and code < 300:
            call.remote = sip.header(reply, "To")
            if method in ("INVITE", "UPDATE"):
                call.learn(reply, is_caller=True)
        if method == "INVITE" and 200 <= code < 300:
            call.answered = number
        if method == "INVITE" and code >= 300:
            self._acknowledge(call, reply)

    def _acknowledge(self, call, reply):
        uri = call.invite.split(" ", 2)[1]
        self.link.send(sip._acknowledge(self.link, uri, reply))

    def _take_request(self, call, request, method, step):
        if method == "INVITE":
            call.invite = call.pending = request
            call.learn(request, is_caller=False)
        elif method == "CANCEL":
            self._cancelled(call, request)
        elif method != "ACK":
            call.pending = request
            if not step.get("unanswered"):
                self._reply(request, 200, call, self._answer_to(request))

    def _cancelled(self, call, request):
        self._reply(request, 200, call)
        self._reply(call.pending, 487, call)
        call.has_silent_ack = True

    def _answer_to(self, request):
        return sdp(self.link, ["answer"]) if "m=audio" in body_of(request) else ""

    def _deals_with(self, message):
        """What every device does by itself; False for what a ladder has to name."""
        what, call = method_of(message), self._call_of(message)
        _, method = sip.header(message, "CSeq").split()
        if call is None:
            return False
        if what == "407" and method == "INVITE":
            self._acknowledge(call, message)
            found = sip.digest(message, self.number, self.password, "INVITE", call.target)
            self._request(call, "INVITE", call.body, [*call.extra, found])
        elif what == "200" and method in ("CANCEL", "BYE", "NOTIFY", "INFO"):
            pass
        elif what == "ACK":
            return call.has_silent_ack
        elif what in ("UPDATE", "NOTIFY", "INFO", "OPTIONS"):
            self._reply(message, 200, call, self._answer_to(message))
        elif what == "INVITE" and "tag=" in sip.header(message, "To"):
            self._reply(message, 200, call, self._answer_to(message) or sdp(self.link, ["offer"]))
            call.has_silent_ack = True
        else:
            return False
        return True

    def _check(self, message, step):
        body = body_of(message)
        if "body" in step:
            self._check_body(body, step["body"].split())
        for name, pattern in step.get("has", {}).items():
            value = sip.header(message, name)
            if pattern is None and value is not None:
                raise Wrong(f"no {name} expected: {value}")
            if pattern is not None and not re.search(pattern, value or ""):
                raise Wrong(f"{name} with {pattern!r} expected: {value}")
        if "text" in step and not re.search(step["text"], body):
            raise Wrong(f"a body with {step['text']!r} expected: {body!r}")

    def _check_body(self, body, words):
        """An SDP of SRTP by way of a relay, in the direction that is named."""
        if words == ["none"]:
            if body:
                raise Wrong(f"no body expected: {body!r}")
            return
        profile = "UDP/TLS/RTP/SAVPF" if self.link.transport == "wss" else "RTP/SAVP"
        key = "a=fingerprint:" if self.link.transport == "wss" else "a=crypto:"
        relay = re.search(r"(?m)^c=IN IP4 (\S+)", body)
        if not re.search(rf"(?m)^m=audio [1-9]\d* {profile} ", body) or key not in body:
            raise Wrong(f"{profile} expected: {body!r}")
        if relay is None or relay.group(1) not in self.relays:
            raise Wrong(f"media by a relay expected: {body!r}")
        found = re.search(r"(?m)^a=(sendrecv|sendonly|recvonly|inactive)\r?$", body)
        direction = found.group(1) if found else "sendrecv"
        wanted = next((word for word in words if word.endswith(("only", "active"))), "sendrecv")
        if direction != wanted:
            raise Wrong(f"{wanted} expected, not {direction}")


PHRASES = {
    180: "Ringing", 183: "Session Progress", 200: "OK", 202: "Accepted", 480: "Away",
    486: "Busy Here", 487: "Request Terminated", 603: "Decline",
}  # fmt: skip


def readable(devices, wait_s):
    """Those of the devices that have something to read, once there are any, or the time is over."""
    at_hand = [
        device
        for device in devices
        if device.link._buffer or getattr(device.link.socket, "pending", lambda: 0)()
    ]
    if at_hand:
        return at_hand
    found, _, _ = select.select([device.link.socket for device in devices], [], [], wait_s)
    return [device for device in devices if device.link.socket in found]


def play(devices, steps):
    """None, or "step N, DEVICE: why" of the first thing that is not as it should be."""
    for number, step in enumerate(steps, 1):
        device, (verb, _, what) = devices[step["device"]], step["does"].partition(" ")
        time.sleep(step.get("pause_s", 0))
        try:
            if verb == "registers":
                device.registers(step)
            elif verb == "sends":
                device.sends(what, step)
            elif what == "nothing":
                device.gets_nothing(step)
            else:
                device.gets(what, step)
        except (Wrong, OSError) as err:
            return f"step {number}, {device.name}: {err or type(err).__name__}"
    return None


def main(order):
    devices = {
        name: Device(name, order["domain"], order["relays"], **given)
        for name, given in order["devices"].items()
    }
    try:
        for device in devices.values():
            device.everybody = devices.values()
            device.registers({})
        failed = play(devices, order["steps"])
    except (Wrong, OSError) as err:
        failed = f"registers: {err}"
    for device in devices.values():
        # Nobody rings them in the next ladder.
        with contextlib.suppress(Wrong, OSError):
            device.registers({"expires": 0})
    print(json.dumps({"failed": failed}))


if __name__ == "__main__":
    main(json.load(sys.stdin))
