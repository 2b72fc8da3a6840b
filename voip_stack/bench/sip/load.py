"""One load by sipp, in the lab's outside guest: `python3 load.py`, its order on standard input.

Standard library only. The order: {"directory" (scenarios, users, programs), "source", "proxy":
{"address", "port", "server_name"}, "way" (TLS or UDP), "scenario", "users" (file of each process),
"rate" and "limit" (calls a second, and open at once, of each process), "hold_ms", "seconds",
"warm_s", "callees": null or {"proxy", "way", "users": [[file, lines], ...]}}. Prints one JSON
object, see `measured`.

Callees register first and stay; the load begins when all of them have.
"""

import contextlib
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import time

FIRST_PORT = 17000
# Calls begun a second by each process of callees, and how long they may take in all.
CALLEE_RATE = 100
REGISTER_S = 30.0
# After the last call has begun: until it must be over, beside how long it lasts.
GRACE_S = 6.0


class Tunnel:
    """TLS for sipp, see tunnel.py. address and port: where sipp finds the proxy."""

    def __init__(self, order, number, proxy):
        top = pathlib.Path(order["directory"])
        self.address, self.port = "127.0.0.1", FIRST_PORT - 1 - number
        said = proxy | {"ca": str(top / "ca.crt"), "listen": self.port}
        self.process = subprocess.Popen(
            [sys.executable, str(top / "tunnel.py"), json.dumps(said)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        if self.process.stdout is None or not self.process.stdout.readline():
            raise SystemExit("the TLS tunnel did not start")

    def end(self, seconds):
        ended(self.process, seconds)


def ended(process, seconds):
    """Wait for its end so long, then have it."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Sipp:
    """One process, in a directory of its own; its files are read when it has ended."""

    def __init__(self, order, number, scenario, users, more, proxy=None, way=None):
        way, proxy = way or order["way"], proxy or order["proxy"]
        top = pathlib.Path(order["directory"])
        self.home = top / f"run-{number}"
        self.home.mkdir(mode=0o700)
        self.tunnel = Tunnel(order, number, proxy) if way == "TLS" else None
        there = f"{self.tunnel.address}:{self.tunnel.port}" if self.tunnel else (
            f"{proxy['address']}:{proxy['port']}"
        )  # fmt: skip
        argv = ["sipp", there, "-t", "t1" if self.tunnel else "u1", "-key", "way", way]
        argv += ["-i", order["source"], "-p", str(FIRST_PORT + number), "-nostdin", "-skip_rlimit"]
        argv += ["-sf", str(top / f"{scenario}.xml"), "-inf", str(top / users)]
        argv += ["-recv_timeout", "20000", "-timer_resol", "5"]
        argv += ["-trace_stat", "-stf", "stat.csv", "-fd", "1", "-trace_err", "-error_file", "err"]
        # Its screens, drawn once a second, are of no use.
        self.process = subprocess.Popen(
            argv + more, cwd=self.home, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env={**os.environ, "TERM": "dumb"},
        )  # fmt: skip

    def lines(self, pattern):
        for path in self.home.glob(pattern):
            with open(path, errors="replace") as file:
                yield from file

    def end(self, seconds):
        ended(self.process, seconds)
        if self.tunnel:
            self.tunnel.process.kill()
            self.tunnel.end(1)


def rows(lines):
    """sipp's statistics, one dict of numbers a line: at (epoch), done, failed, open."""
    names, found = None, []
    for line in lines:
        values = line.rstrip("\n").split(";")
        if names is None:
            names = values
            continue
        if len(values) < len(names) - 1:
            continue  # it is being written
        row = dict(zip(names, values, strict=False))
        found.append(
            {
                "at": float(row["CurrentTime"].split("\t")[-1]),
                "done": int(row["SuccessfulCall(C)"]),
                "failed": int(row["FailedCall(C)"]),
                "open": int(row["CurrentCall"]),
            }
        )
    return found


def delays(lines):
    """Milliseconds of the first timer, from sipp's response times."""
    found = []
    for line in lines:
        when, _, rest = line.partition(";")
        value, _, timer = rest.partition(";")
        if when.replace(".", "").isdigit() and timer.strip() in ("1", ""):
            found.append(float(value))
    return found


def within(found, begins, ends):
    """(done, seconds) between the first row from `begins` on and the last one up to `ends`."""
    inside = [row for row in found if begins <= row["at"] <= ends]
    if len(inside) < 2:
        return 0, 0.0
    first, last = inside[0], inside[-1]
    return last["done"] - first["done"], last["at"] - first["at"]


def most_open(every):
    """The most calls that were open at once, by the statistics of all processes."""
    seconds: dict = {}
    for found in every:
        for row in found:
            seconds.setdefault(round(row["at"]), []).append(row["open"])
    return max((sum(opened) for opened in seconds.values()), default=0)


def measured(loads, begins, ends):
    """rate: done a second within the time that counts. done, failed: of the whole run. open: most
    at once. delays_ms: each call's post-dial delay. said: sipp's first complaints."""
    every = [rows(load.lines("stat.csv")) for load in loads]
    rates = [within(found, begins, ends) for found in every]
    said = [line.strip() for load in loads for line in load.lines("err") if line.strip()]
    return {
        "rate": sum(done / seconds for done, seconds in rates if seconds),
        "done": sum(found[-1]["done"] for found in every if found),
        "failed": sum(found[-1]["failed"] for found in every if found),
        "open": most_open(every),
        "delays_ms": [ms for load in loads for ms in delays(load.lines("*rtt*.csv"))],
        "said": said[:6],
    }


def answering(order, started):
    """Start the callees; return when each of their numbers is registered."""
    wanted = order["callees"]
    for users, count in wanted["users"]:
        more = ["-r", str(CALLEE_RATE), "-l", str(count), "-trace_logs", "-log_file", "log"]
        more += ["-oocsf", str(pathlib.Path(order["directory"], "answer.xml"))]
        started.append(
            Sipp(order, len(started), "callee", users, more, wanted["proxy"], wanted["way"])
        )
    callees, total = list(started), sum(count for _, count in wanted["users"])
    deadline = time.monotonic() + REGISTER_S
    while True:
        there = sum("registered" in line for callee in callees for line in callee.lines("log"))
        if there >= total:
            return
        gone = [callee for callee in callees if callee.process.poll() is not None]
        if gone or time.monotonic() > deadline:
            said = [line.strip() for callee in callees for line in callee.lines("err")]
            raise SystemExit(f"{there} of {total} callees registered: {' '.join(said)[:600]}")
        time.sleep(0.1)


def acquainted(order, started):
    """One call has been made: proxy and PBX have their connections to each other. Without, each of
    the vendor's processes that has a call opens one in the same moment, and most of them fail."""
    more = ["-m", "1", "-r", "1", "-d", "0"]
    one = Sipp(order, len(started), order["scenario"], order["users"][0], more)
    started.append(one)
    one.end(GRACE_S)


def spent():
    """Seconds of CPU of all that has ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main(order):
    for left in pathlib.Path(order["directory"]).glob("run-*"):
        shutil.rmtree(left)
    started: list = []
    try:
        if order["callees"]:
            answering(order, started)
            acquainted(order, started)
        more = ["-r", str(order["rate"]), "-l", str(order["limit"]), "-d", str(order["hold_ms"])]
        more += ["-trace_rtt", "-rtt_freq", "20"]
        begun = time.time()
        loads = []
        for users in order["users"]:
            loads.append(Sipp(order, len(started), order["scenario"], users, more))
            started.append(loads[-1])
        time.sleep(order["seconds"])
        for load in loads:
            # No new calls; those that are open go on to their end.
            with contextlib.suppress(ProcessLookupError):
                load.process.send_signal(signal.SIGUSR1)
        deadline = time.monotonic() + order["hold_ms"] / 1000 + GRACE_S
        for load in loads:
            load.end(max(0.1, deadline - time.monotonic()))
        found = measured(loads, begun + order["warm_s"], begun + order["seconds"])
    finally:
        for one in started:
            one.process.kill()
            one.end(1)
    print(json.dumps(found | {"cpu_s": spent()}))


if __name__ == "__main__":
    main(json.load(sys.stdin))
