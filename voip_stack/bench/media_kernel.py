"""CPU for a forwarded packet, in user space and in the kernel of a machine under qemu."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from voip_stack.bench.report import Result
from voip_stack.vm.cost import PROFILES, costs, measure
from voip_stack.vm.lab import Machines

ROUNDS = 3
LEAST_RATIO = 3
SECONDS = 5


def run(rounds: int) -> list[Result]:
    found = []
    with tempfile.TemporaryDirectory(prefix="voip-") as room:
        machines = Machines(Path(room))
        with machines.converged(machines.image.new) as machine:
            found = [costs(measure(machines, machine, SECONDS)) for _ in range(rounds)]
    results = []
    for profile in PROFILES:
        user, kernel, ratio = (
            statistics.median(getattr(cost[profile], name) for cost in found)
            for name in ("user_us", "kernel_us", "ratio")
        )
        results += [
            Result(f"{profile}, user space, CPU for a packet", user, "us (emulated)"),
            Result(f"{profile}, kernel, CPU for a packet", kernel, "us (emulated)"),
            Result(f"{profile}, user space : kernel", ratio, "", LEAST_RATIO, at_least=True),
        ]
    return results
