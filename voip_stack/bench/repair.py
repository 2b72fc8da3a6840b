"""`bench repair`: how long a service is away when its daemon is killed, and when it hangs.

A probe every 50 ms speaks the service's protocol, inside the guest. KILL hits the main process
(and, of the proxy, a worker by chance): systemd's work. STOP hits every process: that is for the
health beacon, the reactor and the orchestration.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import typer

from voip_stack import deployment, paths, providers
from voip_stack.bench.report import Result
from voip_stack.master import client
from voip_stack.pillar import Pillar, compile_for, load
from voip_stack.problem import Problem
from voip_stack.providers.base import Provider
from voip_stack.repair import hosts, state

ROUNDS = 10
EVERY_S = 0.05
PYTHON = "/opt/voip-minion/bin/python"
OUTAGE = Path(__file__).with_name("outage.py")
# Signal -> goal and limit, seconds.
GOALS = {"KILL": (2.0, 60.0), "STOP": (15.0, 120.0)}
# Where one process of many can be hit: the others must not go on without it.
WORKERS = ("kamailio",)


def run(rounds: int, service: str | None = None) -> list[Result]:
    """Median and slowest round of each service and signal, then what the goal is about."""
    pillar = load(paths.pillar_dir())
    provider = providers.deployed(pillar)
    targets = services(pillar)
    if service is not None and service not in {name for _, name in targets}:
        known = ", ".join(sorted({name for _, name in targets}))
        raise Problem(f"There is no service {service}", "bench repair", f"one of {known}", 2)
    numbers: list[Result] = []
    for host, name in targets:
        if service in (None, name):
            numbers += _measure(pillar, provider, host, name, rounds)
    return numbers


def services(pillar: Pillar) -> list[tuple[str, str]]:
    """[(host, service)] of everything that is probed."""
    facts = deployment.read()
    return [
        (host, service)
        for host in pillar.minions()
        for service in compile_for(pillar, host, facts)["probes"]
    ]


def _measure(
    pillar: Pillar, provider: Provider, host: str, service: str, rounds: int
) -> list[Result]:
    numbers = []
    cases = [("KILL", "main", "killed"), ("STOP", "all", "stopped (SIGSTOP)")]
    if service in WORKERS:
        cases.insert(1, ("KILL", "child", "a worker killed"))
    for signal, whom, title in cases:
        goal, limit = GOALS[signal]
        seconds = []
        for number in range(rounds):
            took = once(pillar, provider, host, service, signal, whom, limit)["outage_s"]
            typer.echo(f"{host} {service} {title}, round {number + 1}: {took} s", err=True)
            # Past the limit: worse than the goal, and said so by the number.
            seconds.append(limit if took is None else took)
        median = round(statistics.median(seconds), 3)
        numbers.append(Result(f"{host} {service} {title}, median", median, "s", goal))
        numbers.append(Result(f"{host} {service} {title}, slowest", max(seconds), "s"))
    return numbers


def once(
    pillar: Pillar,
    provider: Provider,
    host: str,
    service: str,
    signal: str,
    whom: str,
    limit_s: float,
) -> dict[str, Any]:
    """One round; returns what outage.py says. The count of repairs begins anew: it is not the
    limit of flapping that is measured."""
    compiled = compile_for(pillar, host, deployment.read())
    probes = compiled["probes"][service]
    state.forget(host, service)
    if any(probe.get("floats") for probe in probes):
        _send_home(host, compiled["relays"])
    hosts.answers(host, service, 60)
    order = {
        "probes": probes,
        "unit": hosts.unit(host, service),
        "signal": signal,
        "whom": whom,
        "every_s": EVERY_S,
        "timeout_s": 1.0,
        "limit_s": limit_s,
    }
    return in_guest(provider, host, order)


def _send_home(host: str, relays: list[dict[str, Any]]) -> None:
    """A relay that another host took over in the round before: here nothing of it could be hit."""
    for relay in relays:
        if relay["name"] != host:
            client.call(relay["name"], "rtpengine_relays.send_home", host, timeout_s=60)


def in_guest(
    provider: Provider, host: str, order: dict[str, Any], program: Path = OUTAGE
) -> dict[str, Any]:
    """Run `program` on `host` with its ORDER, which has limit_s, seconds."""
    text = f"ORDER = {order!r}\n{program.read_text()}"
    done = provider.run(host, [PYTHON, "-"], stdin=text.encode(), timeout=order["limit_s"] + 60)
    return dict(json.loads(done.stdout))
