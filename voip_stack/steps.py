"""Long work as steps: live progress with elapsed time, everything in a log, one at a time.

    with Steps("up") as steps:
        with steps.step("Start the guests") as step:
            step.say("sip-1")          # what it does just now: live line and log
            step.run(["mmdebstrap", ...])   # output goes to the log
            step.done("5 guests")      # what stands behind the finished line

On a terminal the running step is one live line; elsewhere each step prints when it starts, every
half minute, and when it ends. All of it goes to stderr: results belong to stdout.
"""

from __future__ import annotations

import datetime
import fcntl
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.text import Text

from voip_stack import paths
from voip_stack.problem import Problem

HEARTBEAT_S = 30
LOGS_KEPT = 30
TAIL_LINES = 15


class Busy(Problem):
    """Another long run works in this checkout."""


def elapsed(seconds: float) -> str:
    """Seconds as a person reads them: 0.4 s, 12 s, 3 min 05 s."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


class Step:
    """One step: what it says goes to the live line and to the log."""

    def __init__(self, steps: Steps, title: str):
        self.steps, self.title = steps, title
        self.started = time.monotonic()
        self.detail = ""
        self.result = ""
        self._beat = self.started

    def say(self, text: str) -> None:
        """Tell what happens just now."""
        self.detail = text
        self.steps.log(f"{self.title}: {text}")
        self.steps.show(self)
        now = time.monotonic()
        if not self.steps.is_live and now - self._beat > HEARTBEAT_S:
            self._beat = now
            self.steps.line(f"  … {self.title}: {text} ({elapsed(now - self.started)})")

    # So that a step can be handed over as a plain progress callback.
    __call__ = say

    def note(self, text: str) -> None:
        """Something to keep on the screen, beneath the steps."""
        self.steps.log(f"{self.title}: {text}")
        self.steps.line(f"    {text}")

    def done(self, text: str) -> None:
        """What the finished step's line says behind the title."""
        self.result = text

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        how: str = "",
        timeout_s: float | None = None,
    ) -> None:
        """Run a command, its output in the log. Problem with its last lines when it fails."""
        self.steps.log("$ " + " ".join(argv))
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, **(env or {})},
        )
        tail: list[str] = []
        deadline = time.monotonic() + timeout_s if timeout_s else None
        try:
            assert process.stdout is not None  # noqa: S101 - PIPE was asked for
            for line in process.stdout:
                tail = [*tail[1 - TAIL_LINES :], line.rstrip()]
                self.say(line.rstrip()[-200:])
                if deadline and time.monotonic() > deadline:
                    raise Problem(f"{argv[0]} took longer than {timeout_s:.0f} s", "", how)
            code = process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
        if code:
            last = "\n    ".join(line for line in tail if line)
            raise Problem(f"{argv[0]} failed (exit {code})\n    {last}", " ".join(argv), how)


class Steps:
    """The steps of one run, its log file, and the checkout's lock."""

    def __init__(self, name: str, console: Console | None = None, lock: bool = True):
        self.name = name
        self.console = console or Console(stderr=True, highlight=False)
        self.is_live = self.console.is_terminal
        self.started = time.monotonic()
        self.log_path = paths.logs_dir() / f"{_now():%Y%m%d-%H%M%S}-{name}.log"
        self.timings: list[tuple[str, float]] = []
        self._lock = lock
        self._lock_file: IO[str] | None = None
        self._live: Live | None = None
        self._handler: logging.Handler | None = None

    def __enter__(self) -> Steps:
        _make_writable(paths.logs_dir())
        if self._lock:
            self._lock_file = _exclusive(paths.state_dir() / "lock", self.name)
        _forget_old(paths.logs_dir(), self.name)
        self._log = open(self.log_path, "a", buffering=1)
        self._handler = logging.StreamHandler(self._log)
        self._handler.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s"))
        logging.getLogger("voip_stack").addHandler(self._handler)
        self.log(f"voip {' '.join(sys.argv[1:])}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self._handler:
            logging.getLogger("voip_stack").removeHandler(self._handler)
        self.log(f"ended after {elapsed(time.monotonic() - self.started)}: {error or 'fine'}")
        self._log.close()
        if self._lock_file:
            self._lock_file.close()

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """A step. An exception marks it failed and goes on; a Problem learns the log's path."""
        step = Step(self, title)
        self.log(f"== {title}")
        if self.is_live:
            self._live = Live(console=self.console, refresh_per_second=8, transient=True)
            self._live.start()
            self.show(step)
        else:
            self.line(f"  … {title}")
        try:
            yield step
        except BaseException as error:
            self._finish(step, "✘", "red", "interrupted" if _is_stop(error) else "failed")
            self.log(f"{title}: {type(error).__name__}: {error}")
            if isinstance(error, Problem):
                error.log = self.log_path
            raise
        self._finish(step, "✔", "green", step.result)

    def _finish(self, step: Step, mark: str, colour: str, result: str) -> None:
        took = time.monotonic() - step.started
        self.timings.append((step.title, took))
        if self._live:
            self._live.stop()
            self._live = None
        behind = f"  {escape(result)}" if result else ""
        self.line(
            f"[{colour}]{mark}[/] {escape(step.title)}[dim]{behind}  {elapsed(took)}[/]",
            markup=True,
        )
        self.log(f"{mark} {step.title} {result} {elapsed(took)}")

    def show(self, step: Step) -> None:
        """Renew the live line."""
        if self._live:
            self._live.update(_LiveLine(step, self.console.width), refresh=False)

    def line(self, text: str, markup: bool = False) -> None:
        """One lasting line on the screen."""
        self.console.print(text, markup=markup, soft_wrap=True)

    def log(self, text: str) -> None:
        """One line of the log file, with the time."""
        if not self._log.closed:
            self._log.write(f"{_now():%H:%M:%S} {text}\n")


class _LiveLine:
    """The running step, drawn again by rich: spinner, title, detail, elapsed time."""

    def __init__(self, step: Step, width: int):
        self.step, self.width = step, width
        self.spinner = Spinner("dots")

    def __rich__(self) -> Spinner:
        took = elapsed(time.monotonic() - self.step.started)
        head = f"{self.step.title}  {took}"
        room = max(self.width - len(head) - 6, 0)
        text = Text(head)
        text.append(f"  {self.step.detail[:room]}", style="dim")
        self.spinner.update(text=text)
        return self.spinner


def _is_stop(error: BaseException) -> bool:
    return isinstance(error, KeyboardInterrupt | SystemExit)


def _now() -> datetime.datetime:
    return datetime.datetime.now()


def _make_writable(directory: Path) -> None:
    """The logs' directory, and with it the state directory, is ours to write. Problem when not."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        is_ours = os.access(directory, os.W_OK) and os.access(directory.parent, os.W_OK)
    except PermissionError:
        is_ours = False
    if not is_ours:
        raise Problem(
            "The state directory cannot be written by this user",
            str(directory.parent),
            "run as the user who ran ./voip up before (sudo?), or use a checkout of your own",
        )


def _exclusive(file: Path, name: str) -> IO[str]:
    handle = open(file, "a+")  # noqa: SIM115 - open as long as the lock is held
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.seek(0)
        owner = handle.read().strip() or "another process"
        handle.close()
        raise Busy(
            f"Another run works in this checkout: {owner}", str(file), "wait for it, or stop it"
        ) from None
    handle.truncate(0)
    handle.write(f"voip {name}, process {os.getpid()}\n")
    handle.flush()
    return handle


def _forget_old(directory: Path, name: str) -> None:
    for file in sorted(directory.glob(f"*-{name}.log"))[: -LOGS_KEPT + 1]:
        file.unlink(missing_ok=True)
