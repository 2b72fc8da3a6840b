"""`bench apply`: what a state run costs on all hosts when nothing is to do."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from voip_stack import paths
from voip_stack.bench.report import Result
from voip_stack.master import client
from voip_stack.master.results import HostResult, parse, slowest
from voip_stack.pillar import load
from voip_stack.problem import Problem

ROUNDS = 3
GOAL_S = 10.0
SLOWEST = 12


def run(rounds: int) -> list[Result]:
    """Wall time of `salt '*' state.apply` from the command line, then where it goes."""
    hosts = load(paths.pillar_dir()).minions()
    walls = [_wall() for _ in range(rounds)]
    job = client.apply(hosts)
    if job.silent:
        raise Problem(f"No answer from {', '.join(job.silent)}", f"job {job.jid}", "./voip status")
    results = [parse(host, returned) for host, returned in job.returns.items()]
    _refuse_failures(results)
    changed = sum(len(result.changed) for result in results)
    numbers = [
        Result("salt '*' state.apply, median", statistics.median(walls), "s", GOAL_S),
        Result("salt '*' state.apply, slowest round", max(walls), "s"),
        Result("changes", changed, "states", 0),
        Result("states", sum(result.states for result in results), "states"),
    ]
    for result in sorted(results, key=lambda item: item.total_s, reverse=True):
        numbers.append(Result(f"{result.host}: all states", result.total_s, "s"))
    for host, state, seconds in slowest(results, SLOWEST):
        numbers.append(Result(f"{host}: {state}", seconds, "s"))
    return numbers


def _wall() -> float:
    program = str(Path(sys.executable).with_name("salt"))
    command = [program, "-c", str(paths.master_dir()), "*", "state.apply"]
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    took = time.monotonic() - started
    if done.returncode:
        raise Problem(
            f"salt '*' state.apply failed: {done.stderr.strip()[-500:]}",
            "",
            "./voip up, ./voip status",
        )
    return took


def _refuse_failures(results: list[HostResult]) -> None:
    failures = [failure for result in results for failure in result.failures]
    if failures:
        raise Problem("\n".join(map(str, failures[:5])), "", "./voip up")
