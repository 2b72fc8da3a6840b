"""`bench salt`: a state run beside Ansible's for the same host, and a master with many minions.

A round runs one after the other: Salt with nothing to do, Ansible without and with its facts, then
both with one line of one file to put back. What a round of Salt is made of comes from further jobs.
"""

from __future__ import annotations

import contextlib
import shutil
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from voip_stack import deployment, paths, providers
from voip_stack.bench import fleet, pressed
from voip_stack.bench.ansible.playbook import Host, translate
from voip_stack.bench.ansible.project import Project, look
from voip_stack.bench.report import Result
from voip_stack.master import client
from voip_stack.master.results import parse, slowest
from voip_stack.pillar import Pillar, compile_for, load
from voip_stack.problem import Problem
from voip_stack.providers.base import Provider

ROUNDS = 5
GOAL = 10.0
MINIONS = 500
EVENTS = 4  # of each kind, by each minion
SLOWEST = 3
# Part of every host, read by no daemon: one file is written and nothing is restarted.
EDITED = "/etc/apt/apt.conf.d/52voip-stack"


def run(rounds: int, host: str | None = None, minions: int | None = None) -> list[Result]:
    """host: which one; the first of the topology otherwise. minions: how many are simulated."""
    pillar = load(paths.pillar_dir())
    name = host or pillar.minions()[0]
    if name not in pillar.minions():
        known = ", ".join(pillar.minions())
        raise Problem(f"{name} has no Salt minion", "bench salt", f"one of {known}", code=2)
    numbers = compared(pillar, providers.deployed(pillar), name, rounds)
    for other in pillar.minions():
        numbers += profile(other)
    return numbers + crowd(minions or MINIONS, rounds)


def compared(pillar: Pillar, provider: Provider, host: str, rounds: int) -> list[Result]:
    """Salt and Ansible in turn, and their ratios."""
    low = client.call(host, "state.show_lowstate", queue=True, timeout_s=120)
    packages = compile_for(pillar, host, deployment.read())["packages"]
    known = {component: entry["install"] for component, entry in packages.items()}
    book = translate(low, Host(look(provider, host, low), known))
    with _directory() as directory:
        project = Project(directory, host, provider.command(host, []), book)
        # Both are warm then: each has run once.
        tasks = project.require_converged()
        pressed.state_apply(host)
        times = [_round(provider, host, project, number + 1) for number in range(rounds)]
    median = {key: statistics.median(entry[key] for entry in times) for key in times[0]}
    numbers = [Result(f"{host}: {key}, median", seconds, "s") for key, seconds in median.items()]
    numbers += [
        Result(
            f"{host}: nothing to do, Ansible (no facts) : Salt",
            median["ansible-playbook without facts, nothing to do"] / median["salt, nothing to do"],
            "times",
            GOAL,
            at_least=True,
        ),
        Result(
            f"{host}: nothing to do, Ansible (facts, its default) : Salt",
            median["ansible-playbook with facts, nothing to do"] / median["salt, nothing to do"],
            "times",
        ),
        Result(
            f"{host}: one line, Ansible (no facts) : Salt",
            median["ansible-playbook without facts, one line"] / median["salt, one line"],
            "times",
        ),
        Result(f"{host}: Salt's states", len(low), "states"),
        Result(f"{host}: of them in the playbook", book.states, "states"),
        Result(f"{host}: Ansible's tasks for them", tasks, "tasks"),
    ]
    numbers += [
        Result(f"{host}: left out of the playbook: {function}", count, "states")
        for function, count in sorted(book.left_out.items())
    ]
    return numbers


@contextlib.contextmanager
def _directory() -> Iterator[Path]:
    """For a project; what a run that was killed left there is gone before, as this is after."""
    directory = paths.state_dir() / "ansible"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True, mode=0o700)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _round(provider: Provider, host: str, project: Project, number: int) -> dict[str, float]:
    """Seconds of each command of one round. Problem where one did other work than it should."""
    plain = {"salt, nothing to do": pressed.state_apply(host)[0]}
    for facts, name in ((False, "without"), (True, "with")):
        ran = project.run(facts=facts)
        _require(ran.changed == 0, f"ansible-playbook changed {ran.changed} tasks of {host}")
        plain[f"ansible-playbook {name} facts, nothing to do"] = ran.took_s
    before = provider.get(host, EDITED)
    edit = ["sh", "-c", 'echo "// one line" >> "$1"', "edit", EDITED]
    provider.run(host, edit)
    plain["salt, one line"] = pressed.state_apply(host)[0]
    _require(provider.get(host, EDITED) == before, f"Salt did not put {EDITED} back")
    provider.run(host, edit)
    ran = project.run(facts=False)
    plain["ansible-playbook without facts, one line"] = ran.took_s
    _require(provider.get(host, EDITED) == before, f"Ansible did not put {EDITED} back")
    told = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in plain.items())
    typer.echo(f"bench salt: round {number}: {told}", err=True)
    return plain


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Problem(otherwise, "bench salt", "./voip up, then again")


def profile(host: str) -> list[Result]:
    """Where a state run's time goes when nothing is to do: the way there, rendering, the states."""
    ping = _job_s(host, "test.ping")
    compiling = _job_s(host, "pillar.items") - ping
    rendering = _job_s(host, "state.show_lowstate") - ping
    job = client.apply([host])
    if host not in job.returns:
        raise Problem(f"{host} did not answer state.apply", f"job {job.jid}", "./voip status")
    result = parse(host, job.returns[host])
    _require(result.is_ok, "\n".join(map(str, result.failures[:5])))
    typed = statistics.median(pressed.ping(host) for _ in range(3))
    numbers = [
        Result(f"{host}: the command itself (salt {host} test.ping)", typed, "s"),
        Result(f"{host}: a job there and back (test.ping)", ping, "s"),
        Result(f"{host}: pillar and rendering (state.show_lowstate)", rendering, "s"),
        Result(f"{host}:   of it the pillar (pillar.items)", compiling, "s"),
        Result(f"{host}: all {result.states} states", result.total_s, "s"),
    ]
    return numbers + [
        Result(f"{host}: {state}", seconds, "s") for _, state, seconds in slowest([result], SLOWEST)
    ]


def _job_s(host: str, function: str) -> float:
    """Median of three, by one connection to the master."""
    times = []
    for _ in range(3):
        began = time.monotonic()
        client.call(host, function, timeout_s=120)
        times.append(time.monotonic() - began)
    return statistics.median(times)


def crowd(minions: int, rounds: int) -> list[Result]:
    """A master of its own with simulated minions."""
    typer.echo(f"bench salt: a master with {minions} simulated minions", err=True)
    found = fleet.measure(minions, EVENTS, rounds)
    silent = minions * rounds - sum(found["answered"])
    numbers = [
        Result(f"{minions} minions: connected in", found["connect_s"], "s"),
        Result(
            f"{minions} minions: salt '*' test.ping, median",
            statistics.median(found["ping_s"]),
            "s",
        ),
        Result(f"{minions} minions: answers missing", silent, "answers", 0),
    ]
    for kind, title in (("plain", "on the bus"), ("signed", "verified and acted upon")):
        numbers += _events(f"{minions} minions: events {title}", found[kind])
    memory = found["memory_mib"]
    return [
        *numbers,
        Result(f"{minions} minions: memory of the master", memory["master"], "MiB"),
        Result(f"{minions} minions: memory of all of them", memory["minions"], "MiB"),
    ]


def _events(title: str, counted: dict[str, Any]) -> list[Result]:
    rate = counted["handled"] / counted["seconds"] if counted["seconds"] else 0.0
    lost = counted["sent"] - counted["handled"]
    return [
        Result(title, rate, "events/s"),
        Result(f"{title}: lost of {counted['sent']}", lost, "events", 0),
    ]
