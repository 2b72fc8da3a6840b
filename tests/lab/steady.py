"""A device that stays and takes every call, and callers that come anew for each: until input ends.

Run in client-1 beside sip_probe.py and sip_ladder.py, with one JSON object as its argument:
{"link": arguments of sip_probe.Link, "domain", "number", "password", "caller", "caller_password",
"refresh_s", "pause_s"}. The device renews its registration every refresh_s, or by what it was
granted where that is less. When its connection has ended it does nothing until then, as baresip
does. Prints {"calls": [{at, status, took_s, ports}], "connections", "registrations", "failures"};
ports: of the proxy by which the call came in, by its Record-Route.
"""

import json
import re
import secrets
import select
import sys
import threading
import time

import sip_ladder as ladder
import sip_probe as sip


class Phone:
    """One registered device. over: set when it is to end."""

    def __init__(self, order, over):
        self.order, self.over = order, over
        self.link, self.granted_s = None, 0
        self.shared = {"call_id": secrets.token_hex(12), "tag": secrets.token_hex(6)}
        self.cseq, self.connections, self.registrations, self.failures = 0, 0, 0, []
        self.is_registered = threading.Event()

    def run(self):
        due = 0.0
        while not self.over.is_set():
            if time.monotonic() >= due:
                due = time.monotonic() + self.renew()
            try:
                self.listen(min(due, time.monotonic() + 0.5))
            except OSError:
                self.link = None
                self.over.wait(max(0.0, due - time.monotonic()))

    def renew(self):
        """Register; the seconds until the next time."""
        try:
            if self.link is None:
                self.link = sip.Link(**self.order["link"])
                self.connections += 1
            reply = self.register()
        except OSError as err:
            self.failures.append([time.time(), f"registration: {err!r}"])
            self.link = None
            return 1.0
        if reply is None or sip.status(reply)[0] != 200:
            self.failures.append([time.time(), f"registration: {reply and reply.splitlines()[0]}"])
            return 1.0
        self.registrations += 1
        self.is_registered.set()
        granted = re.search(r"(?i)expires=(\d+)", sip.header(reply, "Contact"))
        return min(self.order["refresh_s"], 0.9 * int(granted.group(1)))

    def register(self):
        uri, number = f"sip:{self.order['domain']}", self.order["number"]
        credentials = []
        for _ in range(2):
            self.cseq += 1
            message = sip.build(
                self.link, "REGISTER", uri, number, self.order["domain"], cseq=self.cseq,
                headers=["Expires: 120", *credentials], **self.shared,
            )  # fmt: skip
            self.link.send(message)
            reply = self.answer()
            if reply is None or sip.status(reply)[0] != 401:
                return reply
            password = self.order["password"]
            credentials = [sip.digest(reply, number, password, "REGISTER", uri)]
        return reply

    def answer(self):
        """The reply to a REGISTER; calls that come meanwhile are taken."""
        while True:
            message = self.link.receive()
            if message.startswith("SIP/2.0 ") and "REGISTER" in sip.header(message, "CSeq"):
                return message
            self.take(message)

    def listen(self, until):
        while (left_s := until - time.monotonic()) > 0:
            if select.select([self.link.socket], [], [], left_s)[0]:
                self.take(self.link.receive())

    def take(self, message):
        kind = message.split(" ", 1)[0]
        if kind == "INVITE":
            self.reply(message, ladder.sdp(self.link, ["answer"]))
        elif kind not in ("ACK", "SIP/2.0") and message.strip():
            self.reply(message)

    def reply(self, request, body=""):
        to = sip.header(request, "To")
        lines = [
            "SIP/2.0 200 OK",
            *(f"Via: {row}" for row in ladder.every(request, "Via")),
            *(f"Record-Route: {row}" for row in ladder.every(request, "Record-Route")),
            *(f"{name}: {sip.header(request, name)}" for name in ("From", "Call-ID", "CSeq")),
            f"To: {to}" if "tag=" in to else f"To: {to};tag={secrets.token_hex(6)}",
            f"Contact: <sip:{self.order['number']}@{self.link.local};transport=tls>",
        ]
        if body:
            lines.append("Content-Type: application/sdp")
        self.link.send("\r\n".join([*lines, f"Content-Length: {len(body)}", "", body]))


def call(order):
    """One call by a connection of its own."""
    began = time.monotonic()
    found = {"at": time.time(), "ports": []}
    try:
        link = sip.Link(**order["link"], timeout_s=20)
        made = sip.do_call(
            link, order["domain"], order["caller"], order["caller_password"], order["number"],
            body=ladder.sdp(link, ["offer"]), hold_s=0.2,
        )  # fmt: skip
        link.socket.close()
    except OSError as err:
        return found | {"status": repr(err), "took_s": round(time.monotonic() - began, 2)}
    routes = ",".join(ladder.every(made["reply"], "Record-Route"))
    return {
        "at": found["at"],
        "status": made["statuses"][-1][0],
        "took_s": round(time.monotonic() - began, 2),
        "ports": [int(port) for port in re.findall(r":(\d+)[;>]", routes)],
    }


def main(order):
    over = threading.Event()
    phone = Phone(order, over)
    ring = threading.Thread(target=phone.run)
    ring.start()
    phone.is_registered.wait(20)
    print(json.dumps({"registered": phone.is_registered.is_set()}), flush=True)
    calls, threads = [], [ring]

    def one():
        calls.append(call(order))

    while not select.select([sys.stdin], [], [], order["pause_s"])[0]:
        threads.append(threading.Thread(target=one))
        threads[-1].start()
    over_calls = threads[1:]
    for thread in over_calls:
        thread.join(30)
    over.set()
    ring.join(10)
    report = {
        "calls": sorted(calls, key=lambda item: item["at"]),
        "connections": phone.connections,
        "registrations": phone.registrations,
        "failures": phone.failures,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
