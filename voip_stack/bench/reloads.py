"""`bench reloads`: certificates of the SIP daemons replaced again and again under TLS clients.

For each daemon: the same process at the end, no connection lost, every OPTIONS answered, and memory
that does not grow.
"""

from __future__ import annotations

import json
import statistics
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import typer

from voip_stack import deployment, paths, providers
from voip_stack.bench.repair import PYTHON
from voip_stack.bench.report import Result
from voip_stack.certificates.renew import held
from voip_stack.pillar import Pillar, compile_for, load
from voip_stack.problem import Problem
from voip_stack.providers.base import Provider
from voip_stack.repair import hosts

ROUNDS = 200
# Before that, caches and arenas fill.
WARM_UP = 20
CLIENTS = 20
# Slower than the proxy's limit for one address.
EVERY_S = 1.0
TIMEOUT_S = 15.0
GROWTH_GOAL = 5.0
# Of one round at its slowest, and of the rest.
ROUND_S, REST_S = 10.0, 120.0
# What a reload must not be noticed by: a daemon that speaks SIP over TLS.
LISTENER = "sip-tls"
Tell = Callable[[str], None]


def run(rounds: int, service: str | None = None) -> list[Result]:
    """Each SIP daemon, or `service` alone, hosts side by side."""
    pillar = load(paths.pillar_dir())
    provider = providers.deployed(pillar)

    def tell(text: str) -> None:
        typer.echo(text, err=True)

    targets = [item for item in daemons(pillar) if service in (None, item[1])]
    if not targets:
        known = ", ".join(name for _, name in daemons(pillar))
        raise Problem(f"{service} is no SIP daemon", "bench reloads", f"one of {known}", 2)

    def of(target: tuple[str, str]) -> list[Result]:
        return measure(pillar, provider, target[0], target[1], rounds, tell)

    with ThreadPoolExecutor(len(targets)) as pool:
        return [result for results in pool.map(of, targets) for result in results]


def daemons(pillar: Pillar) -> list[tuple[str, str]]:
    """[(host, component)] of every certificate that a SIP listener over TLS shows."""
    return [
        (host, component)
        for host, component in held(pillar)
        if f"{component}/{LISTENER}" in pillar.certificates[component].serves
    ]


def measure(
    pillar: Pillar, provider: Provider, host: str, component: str, rounds: int, tell: Tell
) -> list[Result]:
    """One daemon."""
    name = f"{host} {component}"
    probes = compile_for(pillar, host, deployment.read())["probes"][component]
    order = {
        "component": component,
        "unit": hosts.unit(host, component),
        "probe": next(probe for probe in probes if probe["kind"] == "sip"),
        "rounds": rounds,
        "clients": CLIENTS,
        "every_s": EVERY_S,
        "timeout_s": TIMEOUT_S,
    }
    found = _in_guest(provider, host, order, lambda text: tell(f"{name}: {text}"))
    for reason in found["reasons"]:
        tell(f"{name}: {reason}")
    return results(name, found, rounds)


def results(name: str, found: dict[str, Any], rounds: int) -> list[Result]:
    """What reload_rounds.py found, as results."""
    first, last, growth, slope = grown(found["memory_kib"], min(WARM_UP, rounds // 4))
    before, after = found["before"], found["after"]
    anew = int(before["pid"] != after["pid"]) + after["restarts"] - before["restarts"]
    unanswered = found["sent"] - found["answered"]
    return [
        Result(f"{name}: reloads", len(found["seconds"]), "", rounds, at_least=True),
        Result(f"{name}: crashes and restarts", anew, "", 0),
        Result(f"{name}: dropped of {CLIENTS} connections", found["dropped"], "", 0),
        Result(f"{name}: OPTIONS sent", found["sent"], ""),
        Result(f"{name}: OPTIONS unanswered", unanswered, "", 0),
        Result(f"{name}: memory after warm-up", first, "KiB"),
        Result(f"{name}: memory at the end", last, "KiB"),
        Result(f"{name}: memory grown by", growth, "%", GROWTH_GOAL),
        Result(f"{name}: memory a reload", round(slope, 1), "KiB"),
        Result(f"{name}: reload and proof, median", statistics.median(found["seconds"]), "s"),
        Result(f"{name}: reload and proof, slowest", max(found["seconds"]), "s"),
    ]


def grown(memory: list[list[int]], warm_up: int) -> tuple[float, float, float, float]:
    """Medians of the first and last fifth of what was measured after the warm-up; growth in %, and
    in KiB of each round.

    memory: [[round, KiB], ...].
    """
    warm = [(number, kib) for number, kib in memory if number >= warm_up]
    if len(warm) < 2:
        raise Problem("Too few rounds to see whether memory grows", "", "--rounds 20 or more", 2)
    part = max(1, len(warm) // 5)
    (began, first), (ended, last) = (
        (statistics.mean(n for n, _ in some), statistics.median(kib for _, kib in some))
        for some in (warm[:part], warm[-part:])
    )
    return first, last, round(100 * (last / first - 1), 2), (last - first) / (ended - began)


def _in_guest(provider: Provider, host: str, order: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """Run reload_rounds.py on `host`; its last line."""
    text = f"ORDER = {order!r}\n{Path(__file__).with_name('reload_rounds.py').read_text()}"
    argv = ["timeout", str(round(order["rounds"] * ROUND_S + REST_S)), PYTHON, "-"]
    with subprocess.Popen(
        provider.command(host, argv),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None  # noqa: S101 - PIPE was asked for
        process.stdin.write(text)
        process.stdin.close()
        for line in process.stdout or ():
            said = json.loads(line)
            if "round" not in said:
                process.wait()
                return dict(said)
            if said["round"] % 20 == 0:
                tell(f"round {said['round']} of {order['rounds']}, {said['memory_kib']} KiB")
        errors = process.stderr.read().strip() if process.stderr else ""
    raise Problem(f"The rounds on {host} ended early: {errors[-1000:]}", "bench reloads", "")
