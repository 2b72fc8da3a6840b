"""A program: probe what it is told to on standard input, and print a line for each answer.

Input, one line of JSON: {"probes": {service: [probe, ...]}, "interval_s", "timeout_s"}. Output, for
each service and round: {"service", "at" (epoch), "what"}; `what` is "" for one that serves.

The health beacon runs it beside the minion: a daemon that hangs must not make the minion wait, and
a process that forks for each job should hold no threads with open TLS connections. Ends when its
parent does.
"""

import concurrent.futures
import json
import os
import sys
import threading
import time

import voip_probe

_printing = threading.Lock()


def main():
    order = json.loads(sys.stdin.readline())
    parent = os.getppid()
    probes = order["probes"]
    busy = set()
    with concurrent.futures.ThreadPoolExecutor(max(1, len(probes))) as pool:
        while os.getppid() == parent:
            for service in sorted(set(probes) - busy):
                busy.add(service)
                pool.submit(report, service, probes[service], order["timeout_s"], busy)
            time.sleep(order["interval_s"])


def report(service, probes, timeout_s, busy):
    """Probe one service and print the result; one that takes long does not hold up the others."""
    try:
        line = {"service": service, "what": voip_probe.ask_all(probes, timeout_s)}
    except Exception as err:  # a fault of the probe itself: better said than a thread gone
        line = {"service": service, "what": f"the probe failed: {err!r}"}
    try:
        with _printing:
            print(json.dumps(line | {"at": round(time.time(), 3)}), flush=True)
    except OSError:
        os._exit(0)  # nobody reads any more
    busy.discard(service)


if __name__ == "__main__":
    main()
