"""A program for a guest: hit one service with a signal, and see how long it does not serve.

Run by `bench repair` and the lab tests with the minion's Python, its text on standard input after
a line `ORDER = {...}`: {"probes": [probe, ...], "unit", "signal": "KILL" or "STOP", "whom": "main",
"all" or "child", "every_s", "timeout_s", "limit_s"}. Prints one JSON object: {"outage_s", "failed"
(probes), "processes" (hit), "what" (the last reason)}; outage_s is null when the limit was passed.

It serves again when the first probe that began after the last failed one is answered, and none
fails for SETTLED_S after that.
"""

import concurrent.futures
import json
import os
import random
import signal
import subprocess
import sys
import time

sys.path.insert(0, "/var/cache/salt/minion/extmods/utils")

import voip_probe
import voip_unit

SETTLED_S = 1.5
ORDER: dict = globals().get("ORDER", {})


class Watch:
    """Probes, one begun every `every_s`, whatever became of those before."""

    def __init__(self, order):
        self.order = order
        self.pool = concurrent.futures.ThreadPoolExecutor(48)
        self.done = []  # (begun, ended, what)
        self.next = time.monotonic()

    def _ask(self):
        begun = time.monotonic()
        what = voip_probe.ask_all(self.order["probes"], self.order["timeout_s"])
        self.done.append((begun, time.monotonic(), what))

    def beat(self):
        self.next += self.order["every_s"]
        self.pool.submit(self._ask)
        time.sleep(max(0.0, self.next - time.monotonic()))

    def until_well(self):
        while len(self.done) < 5 or any(what for _, _, what in self.done[-5:]):
            self.beat()
            if len(self.done) > 200:
                raise SystemExit(f"it does not serve to begin with: {self.done[-1][2]}")

    def outage(self, start):
        """Seconds from `start` to the first answer after the last failure; None at the limit."""
        while time.monotonic() - start < self.order["limit_s"]:
            self.beat()
            after = [item for item in self.done if item[0] >= start]
            bad = max((begun for begun, _, what in after if what), default=start)
            good = min(
                (ended for begun, ended, what in after if not what and begun > bad), default=None
            )
            if good is not None and time.monotonic() - max(good, start) > SETTLED_S:
                return round(good - start, 3) if bad > start else 0.0
        return None


def pids(unit, whom):
    text = subprocess.run(
        ["systemctl", "show", "-p", "MainPID,ControlGroup", unit],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    values = dict(line.split("=", 1) for line in text.splitlines())
    main = int(values["MainPID"])
    if not main:  # to kill(2) it is whoever asks
        raise SystemExit(f"{unit} does not run here: there is nothing to hit")
    every = sorted(voip_unit.processes(values["ControlGroup"]))
    children = [pid for pid in every if pid != main]
    return {"main": [main], "all": every, "child": random.sample(children, 1) if children else []}[
        whom
    ]


def main(order):
    watch = Watch(order)
    watch.until_well()
    hit = pids(order["unit"], order["whom"])
    start = time.monotonic()
    for pid in hit:
        os.kill(pid, getattr(signal, f"SIG{order['signal']}"))
    outage = watch.outage(start)
    failed = [what for begun, _, what in watch.done if begun >= start and what]
    watch.pool.shutdown(wait=False, cancel_futures=True)
    if order.get("debug"):
        for begun, ended, what in sorted(watch.done):
            print(f"{begun - start:.2f} {ended - begun:.2f} {what}", file=sys.stderr)
    said = {"outage_s": outage, "failed": len(failed), "processes": len(hit)}
    print(json.dumps(said | {"what": failed[-1] if failed else ""}))


if ORDER:
    main(ORDER)
