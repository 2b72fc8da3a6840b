"""`bench up`: from a fresh copy of this checkout to a converged platform, with a full cache.

A copy of its own, so that the lab of this checkout is not touched: labs run side by side.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from voip_stack import paths, providers
from voip_stack.bench.report import Result
from voip_stack.cache import Cache
from voip_stack.packages import prepare
from voip_stack.pillar import load
from voip_stack.problem import Problem
from voip_stack.steps import Steps
from voip_stack.up.machine import architecture

ROUNDS = 1
GOAL_S = 180.0
LEFT_OUT = (".git", ".venv", ".voip", "__pycache__", ".mypy_cache", ".ruff_cache")


def run(rounds: int) -> list[Result]:
    """Environment, up, up again, destroy; steps and slowest states of the last round."""
    _fill_cache()
    return measure(rounds, GOAL_S, {})


def measure(rounds: int, goal_s: float, environment: Mapping[str, str]) -> list[Result]:
    """The rounds, with `environment` added to each command's."""
    firsts: list[float] = []
    seconds: list[float] = []
    summary: dict[str, Any] = {}
    second: dict[str, Any] = {}
    for number in range(rounds):
        with _copy() as checkout:
            typer.echo(f"bench up: round {number + 1} of {rounds}, in {checkout}", err=True)
            try:
                took, summary = _up(checkout, environment)
                firsts.append(took)
                again, second = _up(checkout, environment)
                seconds.append(again)
            finally:
                _voip(checkout, ["destroy", "--yes"], environment)
    numbers = [
        Result("./voip up in a fresh checkout, median", statistics.median(firsts), "s", goal_s),
        Result("./voip up again", statistics.median(seconds), "s"),
        Result("./voip up again: changes", second["changed"], "states", 0),
    ]
    numbers += [Result(f"step: {s['name']}", s["seconds"], "s") for s in summary["steps"]]
    for host, done in summary["hosts"].items():
        numbers.append(Result(f"{host}: all states", done["states_s"], "s"))
    for state in summary["slowest_states"]:
        numbers.append(Result(f"{state['host']}: {state['state']}", state["seconds"], "s"))
    return numbers


def _fill_cache() -> None:
    """What `up` keeps between checkouts is there: the goal is for a full cache."""
    pillar = load(paths.pillar_dir())
    with Steps("bench", lock=False) as steps, steps.step("Fill the cache") as step:
        prepare(pillar, architecture(), Cache(), step)
        providers.get(None, pillar).fill_cache(step)


@contextmanager
def _copy() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="voip-bench-") as directory:
        target = Path(directory) / "checkout"
        ignore = shutil.ignore_patterns(*LEFT_OUT)
        shutil.copytree(paths.checkout(), target, symlinks=True, ignore=ignore)
        yield target


def _up(checkout: Path, environment: Mapping[str, str]) -> tuple[float, dict[str, Any]]:
    started = time.monotonic()
    output = _voip(checkout, ["up", "--yes", "--json"], environment)
    return time.monotonic() - started, json.loads(output)


def _voip(checkout: Path, words: list[str], environment: Mapping[str, str]) -> str:
    # The copy's own state directory, whatever this process was given.
    kept = {key: value for key, value in os.environ.items() if key != "VOIP_STATE_DIR"}
    done = subprocess.run(
        [str(checkout / "voip"), *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env={**kept, **environment},
        check=False,
    )
    if done.returncode:
        raise Problem(f"./voip {' '.join(words)} failed in the copy", str(checkout), "see above")
    return done.stdout
