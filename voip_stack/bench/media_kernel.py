"""CPU for a forwarded packet, in user space and in the kernel of a machine under qemu."""

from __future__ import annotations

import tempfile
from pathlib import Path

from voip_stack.bench.report import Result
from voip_stack.vm.cost import costs, measure
from voip_stack.vm.lab import Machines

ROUNDS = 3
LEAST_RATIO = 3
SECONDS = 5


def run(rounds: int) -> list[Result]:
    with tempfile.TemporaryDirectory(prefix="voip-") as room:
        machines = Machines(Path(room))
        with machines.converged(machines.image.new) as machine:
            found = costs(measure(machines, machine, rounds, SECONDS))
    results = []
    for profile, cost in found.items():
        results += [
            Result(f"{profile}, user space, CPU for a packet", cost.user_us, "us (emulated)"),
            Result(f"{profile}, kernel, CPU for a packet", cost.kernel_us, "us (emulated)"),
            Result(f"{profile}, user space : kernel", cost.ratio, "", LEAST_RATIO, at_least=True),
        ]
    return results
