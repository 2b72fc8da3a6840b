"""`bench subscribers`: 100,000 of them, beside those of the pillar: loaded, left alone, one added.

They are a file in pillar/subscribers/, taken away again at the end. Each apply is the whole
`salt HOST state.apply` of the proxy's host, as somebody types it.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import typer

from voip_stack import outside, paths, providers, subscribers, vault
from voip_stack.bench import devices, memory, pressed
from voip_stack.bench.many import FIRST, declared
from voip_stack.bench.report import Result
from voip_stack.master import daemon
from voip_stack.outside import Conversation
from voip_stack.pillar import Pillar, load
from voip_stack.problem import Problem
from voip_stack.providers.base import Provider

ROUNDS = 3
NUMBER = 100_000
COMPILE_S, LOAD_S, EDIT_S, IDLE_S = 5.0, 60.0, 5.0, 5.0
REGISTER_S = 30.0
STATE = "subscribers_|-"
_WRITTEN = "SELECT count(*) FROM subscriber WHERE xmin::text::bigint >= %d"
_NEXT = "SELECT txid_current() % (2^32)::bigint"


def run(rounds: int) -> list[Result]:
    pillar = load(paths.pillar_dir())
    host = pressed.host_of(pillar, "kamailio")
    with declared(pillar, host, NUMBER) as path:
        bench = _Bench(pillar, providers.deployed(pillar), host, path)
        return [
            bench.compiled(),
            *bench.loaded(),
            *bench.left_alone(rounds),
            *bench.added(rounds),
            *bench.removed(),
        ]


class _Bench:
    def __init__(self, pillar: Pillar, provider: Provider, host: str, path: Path):
        self._pillar, self._provider = pillar, provider
        self._host, self._path = host, path
        self._database = pressed.host_of(pillar, "postgresql")
        self._next = FIRST + NUMBER

    def compiled(self) -> Result:
        _tell(f"{NUMBER} entries, compiled")
        started = time.monotonic()
        subscribers.compiled(paths.pillar_dir(), self._pillar.site.domain)
        took = time.monotonic() - started
        return Result(f"{NUMBER} entries read, validated and compiled", took, "s", COMPILE_S)

    def loaded(self) -> list[Result]:
        _tell("first load")
        with self._watched() as found:
            took, state = self._apply()
        _expect(state, {"added": NUMBER})
        return [
            Result("first load: state.apply", took, "s", LOAD_S),
            Result("  of it subscribers.managed", state["duration"] / 1000, "s"),
            *found,
        ]

    def left_alone(self, rounds: int) -> list[Result]:
        walls = []
        for number in range(rounds):
            _tell(f"nothing to do, round {number + 1}")
            took, state = self._apply()
            _expect(state, {})
            walls.append(took)
        managed = state["duration"] / 1000
        return [
            Result("nothing to do: state.apply, median", statistics.median(walls), "s", IDLE_S),
            Result("nothing to do: state.apply, slowest", max(walls), "s"),
            Result("  of it subscribers.managed", managed, "s"),
        ]

    def added(self, rounds: int) -> list[Result]:
        """A line more in the file, then from `salt ...` to the 200 of its REGISTER.

        Its device is there already, and who reads its password has a session with the Vault.
        """
        walls, rows = [], 0
        for number in range(rounds):
            _tell(f"one added, round {number + 1}")
            user, self._next = str(self._next), self._next + 1
            with self._path.open("a") as file:
                file.write(f"{user},Newcomer\n")
            before = int(self._sql(_NEXT))
            with self._device() as device:
                device.ask("connect 1")
                passwords = vault.password_reader()
                started = time.monotonic()
                _, state = self._apply()
                self._register(device, user, passwords([user]).get(user, ""))
                walls.append(time.monotonic() - started)
            _expect(state, {"added": 1})
            rows = max(rows, int(self._sql(_WRITTEN % before)))
        statements = int(state["comment"].rpartition("(")[2].split()[0])
        return [
            Result("one added: registered, median", statistics.median(walls), "s", EDIT_S),
            Result("one added: registered, slowest", max(walls), "s"),
            Result("  of it subscribers.managed", state["duration"] / 1000, "s"),
            Result("  rows written", rows, "rows", 1),
            Result("  statements", statements, ""),
        ]

    def removed(self) -> list[Result]:
        _tell("all removed")
        self._path.unlink()
        took, state = self._apply()
        # Those who came last are registered still: their contacts go with them.
        _expect(state, {"removed": self._next - FIRST}, besides="unregistered")
        return [Result("all removed: state.apply", took, "s")]

    def _apply(self) -> tuple[float, dict[str, Any]]:
        took, returned = pressed.state_apply(self._host)
        return took, next(
            state for tag, state in returned[self._host].items() if tag.startswith(STATE)
        )

    def _device(self) -> AbstractContextManager[Conversation]:
        """One that is connected, and waits for a number and a password."""
        return devices.running(
            self._pillar, self._provider, self._host,
            sources=outside.sources(self._pillar, 1), users=[], links=1, limit_s=REGISTER_S,
        )  # fmt: skip

    def _register(self, device: Conversation, user: str, password: str) -> None:
        found = device.ask(f"enter {json.dumps([user, password])}")
        if not found["registered"]:
            raise Problem(f"{user} was not let in: answered {found['replies']}", self._host)

    def _sql(self, statement: str) -> str:
        argv = ["runuser", "-u", "postgres", "--", "psql", "-XtAc", statement, "kamailio"]
        return self._provider.run(self._database, argv).stdout.decode().strip()

    @contextlib.contextmanager
    def _watched(self) -> Iterator[list[Result]]:
        """Memory of master and minion meanwhile: in the list when the block is over."""
        found: list[Result] = []
        master = daemon.process()
        if master is None:
            raise Problem("The Salt master does not run", str(daemon.log_file()), "./voip up")
        argv = ["systemctl", "show", "-p", "MainPID", "--value", "salt-minion"]
        minion = self._provider.run(self._host, argv).stdout.decode().strip()
        text = Path(memory.__file__).read_bytes()
        self._provider.put(self._host, _PROGRAM, text)
        commands = {
            "master": [sys.executable, memory.__file__, str(master.pid)],
            "minion": self._provider.command(self._host, ["python3", _PROGRAM, minion]),
        }
        watches = {
            name: subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            for name, command in commands.items()
        }
        try:
            yield found
        finally:
            said = {name: watch.communicate(timeout=30)[0] for name, watch in watches.items()}
        for name, text in said.items():
            for when, mib in json.loads(text).items():
                found.append(Result(f"  memory of the {name}, {when}", mib, "MiB"))


_PROGRAM = "/run/voip-bench-memory.py"


def _expect(state: dict[str, Any], wanted: dict[str, int], besides: str = "") -> None:
    counts = {name: item["count"] for name, item in state["changes"].items()}
    found = {name: count for name, count in counts.items() if name != besides}
    if found != wanted:
        raise Problem(f"subscribers.managed changed {found}, not {wanted}", "bench subscribers")


def _tell(text: str) -> None:
    typer.echo(text, err=True)
