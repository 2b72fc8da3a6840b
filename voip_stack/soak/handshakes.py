"""Watch every listener that shows a certificate of ours, from its own guest, all the time.

A crossing is a listener that is watched from another host as well: (that host, the component whose
pair it shows, the listener's host, its component, its service), as of two daemons that know each
other by mutual TLS.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voip_stack import deployment
from voip_stack.bench.repair import PYTHON
from voip_stack.pillar import Pillar, compile_for
from voip_stack.pillar.health import TLS
from voip_stack.providers.base import Provider

PROGRAM = Path(__file__).with_name("handshake_watch.py")
EVERY_S = 0.33
# A device waits longer; a machine that does everything at once may take its time.
TIMEOUT_S = 5.0
FAILURES_KEPT = 100

Crossing = tuple[str, str, str, str, str]


@dataclass(frozen=True)
class Seen:
    """A certificate when it was shown first. until, at: epoch."""

    serial: str
    until: float
    at: float


@dataclass(frozen=True)
class Failure:
    host: str
    listener: str
    at: float
    reason: str

    def __str__(self) -> str:
        return f"failed handshake {self.host} {self.listener}: {self.reason}"


class Handshakes:
    """with Handshakes(...) as watch: ...; then counts, failures and the certificates seen."""

    def __init__(
        self,
        pillar: Pillar,
        provider: Provider,
        limit_s: float,
        every_s: float = EVERY_S,
        crossings: Sequence[Crossing] = (),
    ):
        self._provider = provider
        self._orders = _orders(pillar, limit_s, every_s, crossings)
        self._lock = threading.Lock()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._readers: list[threading.Thread] = []
        self.done: Counter[str] = Counter()
        self.failed = 0
        self.failures: list[Failure] = []
        # (host, component) -> listener -> certificates in the order in which they were shown.
        self._seen: dict[tuple[str, str], dict[str, list[Seen]]] = {}

    def __enter__(self) -> Handshakes:
        for host, order in self._orders.items():
            if order["targets"]:
                self._start(host, order)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            # With what it started: in a guest of this machine the program goes on as long as this
            # process, which may have more to do, holds the other end of its output.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        for process in self._processes.values():
            process.wait()
        for reader in self._readers:
            reader.join(5)

    def listeners(self) -> int:
        """How many are watched."""
        return sum(
            len(target["listeners"])
            for order in self._orders.values()
            for target in order["targets"]
        )

    def seen(self) -> dict[tuple[str, str], dict[str, list[Seen]]]:
        """(host, component) -> listener -> certificates shown, oldest first."""
        with self._lock:
            return {key: {k: list(v) for k, v in value.items()} for key, value in
                    self._seen.items()}  # fmt: skip

    def dead(self) -> list[str]:
        """Hosts whose watch ended although it should not: they would prove nothing."""
        return [host for host, process in self._processes.items() if process.poll() is not None]

    def _start(self, host: str, order: dict[str, Any]) -> None:
        text = f"ORDER = {order!r}\n{PROGRAM.read_text()}"
        process = subprocess.Popen(
            self._provider.command(host, [PYTHON, "-"]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is this process's alone, which ends it in order
        )
        self._processes[host] = process
        assert process.stdin is not None  # noqa: S101 - PIPE was asked for
        process.stdin.write(text.encode())
        process.stdin.close()
        reader = threading.Thread(target=self._read, args=(host, process), daemon=True)
        reader.start()
        self._readers.append(reader)

    def _read(self, host: str, process: subprocess.Popen[bytes]) -> None:
        for line in process.stdout or ():
            try:
                said = json.loads(line)
            except ValueError:
                continue  # cut off by the end
            with self._lock:
                self._take(host, said)

    def _take(self, host: str, said: dict[str, Any]) -> None:
        for listener, count in said["done"].items():
            self.done[f"{host} {listener}"] += count
        self.failed += said["failures"]
        for listener, at, reason in said["failed"]:
            if len(self.failures) < FAILURES_KEPT:
                self.failures.append(Failure(host, listener, at, reason))
        for listener, serial, until, at in said["seen"]:
            component = listener.split(" ")[0]
            shown = self._seen.setdefault((host, component), {}).setdefault(listener, [])
            shown.append(Seen(serial, until, at))


def _orders(
    pillar: Pillar, limit_s: float, every_s: float, crossings: Sequence[Crossing]
) -> dict[str, dict[str, Any]]:
    """What each host's program is told."""
    facts = deployment.read()
    compiled = {host: compile_for(pillar, host, facts) for host in pillar.minions()}
    targets = {
        host: [
            _target(name, wanted, name, wanted["listeners"])
            for name, wanted in voip["certificates"].items()
        ]
        for host, voip in compiled.items()
    }
    for host, shows, other, component, service in crossings:
        voip = compiled[other]
        listener = [voip["self"]["addresses"]["internal"], voip["ports"][component][service]]
        wanted = voip["certificates"][component]
        targets[host].append(_target(component, wanted, shows, [listener]))
    common = {
        "directory": TLS, "every_s": every_s, "timeout_s": TIMEOUT_S, "limit_s": limit_s
    }  # fmt: skip
    return {host: {"targets": found} | common for host, found in targets.items()}


def _target(
    component: str, wanted: dict[str, Any], shows: str, listeners: list[list[Any]]
) -> dict[str, Any]:
    return {
        "component": component,
        "name": wanted["common_name"],
        "negotiation": wanted["negotiation"],
        "shows": shows,
        "listeners": listeners,
    }
