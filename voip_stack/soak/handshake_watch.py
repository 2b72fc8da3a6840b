"""A program for a guest: verified TLS handshakes with its own listeners, several times a second.

Run by a soak with the minion's Python, its text on standard input after a line `ORDER = {...}`:
{"targets": [{"component", "name", "negotiation", "shows", "listeners": [[address, port], ...]}],
"directory", "every_s", "timeout_s", "limit_s"}; shows: the component of this host whose pair is
shown where one is asked for. Prints a JSON object a second, of what came since the one before:
{"done": {listener: handshakes}, "failures": how many, "failed": [[listener, epoch, reason], ...] of
the first of them, "seen": [[listener, serial, not_after, epoch], ...] of new certificates}.
Ends with its reader, and after limit_s in any case.
"""

import concurrent.futures
import contextlib
import json
import os
import ssl
import sys
import threading
import time

sys.path.insert(0, "/var/cache/salt/minion/extmods/utils")

import voip_handshake

REPORT_S = 1.0
FAILURES_KEPT = 50
ORDER: dict = globals().get("ORDER", {})


class Watch:
    """Handshakes of every listener, each begun in time whatever became of the one before."""

    def __init__(self, order):
        self.order = order
        self.lock = threading.Lock()
        self.serials = {}
        self.done, self.failed, self.seen = {}, [], []

    def look(self, target, address, port):
        """One handshake, counted."""
        listener, at = f"{target['component']} {address}:{port}", time.time()
        try:
            context = self.context(target["shows"])
            leaf = voip_handshake.verified(
                context, target["name"], address, port, self.order["timeout_s"],
                target["negotiation"],
            )  # fmt: skip
        except OSError as err:
            with self.lock:
                self.failed.append([listener, at, f"{type(err).__name__}: {err}"])
            return
        serial = f"{leaf.serial_number:x}"
        with self.lock:
            self.done[listener] = self.done.get(listener, 0) + 1
            if serial not in self.serials.setdefault(listener, set()):
                self.serials[listener].add(serial)
                until = leaf.not_valid_after_utc.timestamp()
                self.seen.append([listener, serial, until, at])

    def context(self, component):
        """Our own pair is that component's: of one generation, however often that is replaced."""
        directory = self.order["directory"]
        for _ in range(3):
            generation = os.path.realpath(f"{directory}/{component}.d")
            with contextlib.suppress(OSError):
                context = ssl.create_default_context(cafile=f"{directory}/ca.crt")
                context.load_cert_chain(f"{generation}/cert.pem", f"{generation}/key.pem")
                return context
        raise OSError(f"no whole pair in {directory}/{component}.d to show")

    def report(self):
        """Print what came since the last report."""
        with self.lock:
            said = {
                "done": self.done,
                "failures": len(self.failed),
                "failed": self.failed[:FAILURES_KEPT],
                "seen": self.seen,
            }
            self.done, self.failed, self.seen = {}, [], []
        print(json.dumps(said), flush=True)

    def run(self):
        listeners = [
            (target, address, port)
            for target in self.order["targets"]
            for address, port in target["listeners"]
        ]
        end = time.monotonic() + self.order["limit_s"]
        due = reported = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(4 * len(listeners)) as pool:
            while time.monotonic() < end:
                for listener in listeners:
                    pool.submit(self.look, *listener)
                if time.monotonic() - reported >= REPORT_S:
                    reported = time.monotonic()
                    self.report()
                due += self.order["every_s"]
                time.sleep(max(0.0, due - time.monotonic()))


if ORDER:
    with contextlib.suppress(BrokenPipeError):
        Watch(ORDER).run()
    os._exit(0)  # nobody reads any more, or it is over: what is under way does not matter
