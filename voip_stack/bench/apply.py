"""`bench apply`: what a state run costs on all hosts when nothing is to do."""

from __future__ import annotations

import statistics

from voip_stack import paths
from voip_stack.bench import pressed
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
    walls = [pressed.state_apply("*")[0] for _ in range(rounds)]
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


def _refuse_failures(results: list[HostResult]) -> None:
    failures = [failure for result in results for failure in result.failures]
    if failures:
        raise Problem("\n".join(map(str, failures[:5])), "", "./voip up")
