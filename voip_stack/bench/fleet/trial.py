"""One trial of a master with simulated minions; `python -m`, in a state directory of its own.

The master is the platform's: its configuration, its keys, its reactor. It listens on the loopback
at ports that nobody has. Every minion has the same key pair, accepted under each name: five
hundred pairs would take longer to make than all the rest. Signed events are those of one host of
the topology, whoever sends them: the master believes no other name.
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil

from voip_stack import paths
from voip_stack.bench.fleet import minions
from voip_stack.events import record
from voip_stack.master import client, config, daemon, keys
from voip_stack.pillar import load

PER_PROCESS = 100
PLAIN = "voip-bench/plain"
# A kind whose handler shows what it did, an alert on record, and asks no host.
KIND = "revocation/stale"
DATA = {"detail": "bench"}
CONNECT_S = 300
# So long without another event: the rest is lost.
SILENCE_S = 20

Worker = tuple[BaseProcess, Connection]


def run(count: int, events: int, rounds: int) -> dict[str, Any]:
    """Returns {connect_s, ping_s: [...], answered: [...], plain, signed, memory_mib}.

    plain, signed: {sent, handled, seconds} of events by all minions at once; signed ones
    went through the reactor, were verified and acted upon.
    """
    host = load(paths.pillar_dir()).minions()[0]
    with _master() as ports:
        pair = keys.ensure_minion(host)
        names = [host, *(f"simulated-{number:04d}" for number in range(1, count))]
        for name in names:
            shutil.copy(pair.public, keys.pki_dir() / "minions" / name)
        began = time.monotonic()
        with _workers(names, pair.private.parent, ports) as workers:
            found: dict[str, Any] = {"connect_s": time.monotonic() - began}
            pings = [_ping() for _ in range(rounds)]
            found["ping_s"] = [seconds for seconds, _ in pings]
            found["answered"] = [answered for _, answered in pings]
            found["plain"] = _plain(workers, count * events, ("", PLAIN, {}, events))
            found["signed"] = _signed(
                workers, count * events, (host, f"voip/event/{KIND}", DATA, events)
            )
            found["memory_mib"] = {
                "master": _memory([daemon.process()]),
                "minions": _memory([psutil.Process(worker.pid) for worker, _ in workers]),
            }
    return found


@contextmanager
def _master() -> Iterator[tuple[int, int]]:
    """A running master; yields its publish and its request port."""
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        ports = (first.getsockname()[1], second.getsockname()[1])
    config.write("127.0.0.1", ports)
    keys.ensure_master()
    daemon.start()
    try:
        yield ports
    finally:
        daemon.stop()
        shutil.rmtree(config.socket_dir(), ignore_errors=True)


@contextmanager
def _workers(names: list[str], home: Path, ports: tuple[int, int]) -> Iterator[list[Worker]]:
    """The minions' processes, all connected. Forked: what they have imported is there once."""
    options = _options(home, ports)
    sys.path.append(str(paths.checkout() / "_utils"))
    import salt.channel.client  # noqa: F401 - before the fork
    import voip_event  # noqa: F401

    context = multiprocessing.get_context("fork")
    workers: list[Worker] = []
    try:
        for start in range(0, len(names), PER_PROCESS):
            some = [{**options, "id": name} for name in names[start : start + PER_PROCESS]]
            ours, theirs = context.Pipe()
            worker: BaseProcess = context.Process(
                target=minions.work, args=(some, theirs), daemon=True
            )
            worker.start()
            workers.append((worker, ours))
        for _, connection in workers:
            if not connection.poll(CONNECT_S):
                raise TimeoutError(f"simulated minions did not connect within {CONNECT_S} s")
            connection.recv()
        yield workers
    finally:
        for worker, _ in workers:
            worker.kill()
            worker.join()


def _options(home: Path, ports: tuple[int, int]) -> dict[str, Any]:
    """A minion's configuration; it trusts this master's key and no other."""
    import salt.config

    shutil.copy(keys.ensure_master(), home / "minion_master.pub")
    options = dict(salt.config.minion_config(None))
    return options | {
        "root_dir": str(home),
        "pki_dir": str(home),
        "sock_dir": str(home),
        "master": "127.0.0.1",
        "master_ip": "127.0.0.1",
        "master_uri": f"tcp://127.0.0.1:{ports[1]}",
        "publish_port": ports[0],
        "master_port": ports[1],
        "__role": "minion",
        # A busy machine: an answer that comes late is no reason to ask again.
        "auth_timeout": 60,
        "request_channel_timeout": 120,
    }


def _ping() -> tuple[float, int]:
    """Seconds of `salt '*' test.ping` as it is typed, and how many answered."""
    program = str(Path(sys.executable).with_name("salt"))
    words = ["-c", str(paths.master_dir()), "--out=json", "--static", "*", "test.ping"]
    began = time.monotonic()
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    took = time.monotonic() - began
    return took, sum(answer is True for answer in json.loads(done.stdout or "{}").values())


def _plain(workers: list[Worker], wanted: int, order: tuple) -> dict[str, Any]:
    """Events that only reach the master's bus, counted there."""
    import salt.config
    import salt.utils.event

    options = salt.config.client_config(client.config_file())
    with salt.utils.event.get_event(
        "master", sock_dir=options["sock_dir"], opts=options, listen=True
    ) as bus:
        bus.connect_pub()
        last = time.time()

        def heard() -> int:
            nonlocal last
            if bus.get_event(tag=PLAIN, wait=1, full=True) is None:
                return 0
            last = time.time()
            return 1

        return _fired(workers, wanted, order, heard, lambda: last)


def _signed(workers: list[Worker], wanted: int, order: tuple) -> dict[str, Any]:
    """Events that the reactor verifies and acts upon, counted by the alerts on record."""
    counted = 0

    def heard() -> int:
        nonlocal counted
        time.sleep(0.2)
        now = sum(1 for _ in record.read("alerts"))
        new, counted = now - counted, now
        return new

    return _fired(
        workers, wanted, order, heard, lambda: max(entry["time"] for entry in record.read("alerts"))
    )


def _fired(
    workers: list[Worker],
    wanted: int,
    order: tuple,
    heard: Callable[[], int],
    last: Callable[[], float],
) -> dict[str, Any]:
    """Have all minions fire; count until all are there or none comes any more.

    heard: waits a little, returns how many more came. last: when the last one came.
    """
    for _, connection in workers:
        connection.send(order)
    handled, silent_since = 0, time.monotonic()
    while handled < wanted and time.monotonic() - silent_since < SILENCE_S:
        if new := heard():
            handled, silent_since = handled + new, time.monotonic()
    began = min(connection.recv() for _, connection in workers)
    return {"sent": wanted, "handled": handled, "seconds": last() - began if handled else 0.0}


def _memory(roots: list[psutil.Process | None]) -> float:
    """MiB of the processes and their children; what they share is counted once."""
    family = [p for root in roots if root for p in (root, *root.children(recursive=True))]
    return sum(process.memory_full_info().pss for process in family) / 2**20


def main() -> None:
    """Run the order of the command line and print what came of it, as JSON."""
    # An end that is asked for is an exit: the master and the minions are ended on the way.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print(json.dumps(run(**json.loads(sys.argv[1]))))


if __name__ == "__main__":
    main()
