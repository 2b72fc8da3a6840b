"""Labs of the machine as a table: from the registry, checked against what really runs."""

from __future__ import annotations

import subprocess
from pathlib import Path

from voip_stack.providers.base import Lab
from voip_stack.providers.lab import limits
from voip_stack.providers.lab.registry import Record


def state(record: Record) -> str:
    """running, partly running, stopped; `checkout gone` and `rebooted` are told in addition."""
    if not record.is_of_this_boot:
        word = "stopped (the machine was rebooted)"
    else:
        alive = sum(process.is_alive() for process in record.guests.values())
        if alive and alive == len(record.guests):
            word = "running"
        elif alive:
            word = f"{alive} of {len(record.guests)} guests running"
        else:
            word = "stopped"
    return f"{word}, checkout gone" if record.is_orphan else word


def summary(record: Record) -> Lab:
    current = record.is_of_this_boot
    alive = [name for name, process in record.guests.items() if current and process.is_alive()]
    used = [limits.memory_used_mib(record.name, name) or 0 for name in alive]
    return Lab(
        name=record.name,
        state=state(record),
        user=record.user,
        checkout=record.checkout,
        created=record.created,
        guests=len(alive),
        memory_mib=sum(used),
        disk_mib=_disk_mib(Path(record.state_dir) / "guests"),
    )


def _disk_mib(directory: Path) -> int:
    if not directory.is_dir():
        return 0
    done = subprocess.run(["du", "-smx", str(directory)], capture_output=True, check=False)
    return int(done.stdout.split()[0]) if done.stdout else 0
