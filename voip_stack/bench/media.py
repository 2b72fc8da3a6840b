"""SRTP streams at rising levels: ours and upstream's defaults, in user space and in the kernel.

In a machine under qemu: its instructions are emulated, all alike, so ratios count and streams per
core are fewer than a real core carries.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from voip_stack.bench.media_kernel import LEAST_RATIO
from voip_stack.bench.report import Result
from voip_stack.vm.capacity import RELAYS, Level, measure
from voip_stack.vm.cost import PATHS
from voip_stack.vm.lab import Machines

ROUNDS = 2
SECONDS = 3
# Calls at once, two streams each.
LEVELS = (5, 10, 20, 40)
TITLES = {"ours": "voip-stack", "upstream": "defaults", "user": "user space", "kernel": "kernel"}


def run(rounds: int) -> list[Result]:
    with tempfile.TemporaryDirectory(prefix="voip-") as room:
        machines = Machines(Path(room))
        with machines.converged(machines.image.new) as machine:
            found = measure(machines, machine, rounds, LEVELS, SECONDS)
    return [*_levels(found), *_summary(found)]


def _levels(found: dict[str, list[Level]]) -> list[Result]:
    results = []
    for who, levels in found.items():
        for level in levels:
            name = f"{_title(who)}, {level.streams} streams"
            results += [
                Result(f"{name}: lost", level.lost * 100, "%"),
                Result(f"{name}: jitter", level.jitter_ms, "ms"),
            ]
            if who != "straight":
                results.append(Result(f"{name}: CPU of a stream", level.cpu_ms, "ms/s (emulated)"))
    return results


def _summary(found: dict[str, list[Level]]) -> list[Result]:
    best = {who: _best(levels) for who, levels in found.items()}
    results = []
    for relay in RELAYS:
        for path in PATHS:
            who = f"{relay} {path}"
            results += [
                Result(f"{_title(who)}: most streams tried and carried", best[who].streams, ""),
                Result(f"{_title(who)}: streams per core", 1000 / best[who].cpu_ms, "(emulated)"),
            ]
    for relay in RELAYS:
        ratio = best[f"{relay} user"].cpu_ms / best[f"{relay} kernel"].cpu_ms
        goal = LEAST_RATIO if relay == "ours" else None
        results.append(
            Result(f"{TITLES[relay]}, CPU user space : kernel", ratio, "", goal, at_least=True)
        )
    for path in PATHS:
        ratio = best[f"ours {path}"].cpu_ms / best[f"upstream {path}"].cpu_ms
        results.append(Result(f"{TITLES[path]}, CPU voip-stack : defaults", ratio, ""))
    return results


def _best(levels: list[Level]) -> Level:
    """The highest level that was carried; the lowest one when none was."""
    return next((level for level in reversed(levels) if level.is_carried), levels[0])


def _title(who: str) -> str:
    if who == "straight":
        return "nobody forwards"
    relay, path = who.split()
    return f"{TITLES[relay]}, {TITLES[path]}"
