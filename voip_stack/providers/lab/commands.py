"""Run the system's own tools; a failure names the tool and what it said.

Long ones are remembered while they run: threads wait for them, and Ctrl-C must end them.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from voip_stack.problem import Problem

_running: set[subprocess.Popen] = set()
_lock = threading.Lock()


def run(argv: Sequence[str], *, stdin: str | None = None, check: bool = True) -> str:
    """Run a command, return its output. Problem when it fails and `check`.

    Without the caller's environment: its locale and its settings for pip or apt would leak in.
    """
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        argv,
        input=stdin or "",
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env=environment,
    )
    if check and done.returncode:
        said = (done.stderr or done.stdout).strip()[-800:]
        raise Problem(f"{argv[0]} failed (exit {done.returncode}): {said}", " ".join(argv)[:300])
    return done.stdout


def run_long(argv: Sequence[str], log: Path, *, clean: bool = False) -> int:
    """Run a command with its output at the end of `log`. Returns its exit code.

    clean: without the caller's environment, as `run` does it.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as output:
        return _watched(argv, output, clean)[0]


def run_said(argv: Sequence[str]) -> tuple[int, str]:
    """As run_long, without a log: exit code and output. For what may fill the log's disk."""
    return _watched(argv, subprocess.PIPE, True)


def _watched(argv: Sequence[str], output: BinaryIO | int, clean: bool) -> tuple[int, str]:
    with _lock:
        process = subprocess.Popen(
            # Should this process be killed: none must go on writing into what the next run clears.
            ["setpriv", "--pdeathsig=TERM", "--", *argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={"PATH": os.environ.get("PATH", os.defpath)} if clean else None,
        )
        _running.add(process)
    try:
        said, _ = process.communicate()
        return process.returncode, (said or b"").decode(errors="replace")
    finally:
        with _lock:
            _running.discard(process)


def stop_all() -> None:
    """End what `run_long` runs now, in whatever threads."""
    with _lock:
        for process in _running:
            process.terminate()
