"""Memory and CPU limits of guests, by the control groups that the host has.

`unified` hosts (systemd's default) have the controllers in cgroup v2; on `v1` hosts each
controller is a tree of its own. A guest sees a part of the tree only and cannot raise its limits.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path("/sys/fs/cgroup")
PERIOD_US = 100_000
# What the host keeps for itself when the guests' memory is scaled down.
HOST_SHARE = 0.8
SMALLEST_MIB = 256


@dataclass(frozen=True)
class Limit:
    vcpus: float
    memory_mib: int


def scale(wanted: dict[str, Limit], host_cpus: int, host_mib: int) -> dict[str, Limit]:
    """Limits that this host can bear: memory in proportion, CPUs at most those that exist."""
    total = sum(limit.memory_mib for limit in wanted.values())
    factor = min(1.0, host_mib * HOST_SHARE / total) if total else 1.0
    return {
        name: Limit(
            min(limit.vcpus, host_cpus),
            limit.memory_mib if factor == 1 else max(SMALLEST_MIB, int(limit.memory_mib * factor)),
        )
        for name, limit in wanted.items()
    }


def of_this_host() -> tuple[int, int]:
    """CPUs and memory (MiB)."""
    return os.cpu_count() or 1, psutil.virtual_memory().total // 2**20


def notes(wanted: dict[str, Limit], given: dict[str, Limit]) -> list[str]:
    """In words what was scaled down."""
    changed = [
        f"{name} {given[name].vcpus:g} of {limit.vcpus:g} CPUs, "
        f"{given[name].memory_mib} of {limit.memory_mib} MiB"
        for name, limit in wanted.items()
        if given[name] != limit
    ]
    return [f"scaled to this host: {'; '.join(changed)}"] if changed else []


def is_unified(root: Path = ROOT) -> bool:
    return (root / "cgroup.controllers").exists()


def _trees(root: Path = ROOT) -> list[Path]:
    """Directories under which a guest has a group of its own."""
    if is_unified(root):
        return [root]
    names = ("memory", "cpu", "pids", "systemd", "unified")
    return [root / name for name in names if (root / name / "cgroup.procs").exists()]


def ensure(lab: str, guest: str, limit: Limit) -> tuple[list[Path], list[str]]:
    """Make a guest's groups and set its limits. Returns the groups and what could not be set."""
    groups, refused = [], []
    for tree in _trees():
        group = tree / lab / guest
        group.mkdir(parents=True, exist_ok=True)
        groups.append(group)
    if is_unified():
        for parent in (ROOT, ROOT / lab):
            with contextlib.suppress(OSError):  # a container's root may not delegate
                (parent / "cgroup.subtree_control").write_text("+memory +cpu +pids")
    for file, value in _values(lab, guest, limit):
        try:
            file.write_text(value)
        except OSError as error:
            refused.append(f"{file.name} of {guest}: {error.strerror}")
    return groups, refused


def _values(lab: str, guest: str, limit: Limit) -> Iterable[tuple[Path, str]]:
    memory, quota = str(limit.memory_mib * 2**20), int(limit.vcpus * PERIOD_US)
    if is_unified():
        group = ROOT / lab / guest
        return [(group / "memory.max", memory), (group / "cpu.max", f"{quota} {PERIOD_US}")]
    found = [
        (ROOT / "memory" / lab / guest / "memory.limit_in_bytes", memory),
        (ROOT / "cpu" / lab / guest / "cpu.cfs_period_us", str(PERIOD_US)),
        (ROOT / "cpu" / lab / guest / "cpu.cfs_quota_us", str(quota)),
    ]
    return [(file, value) for file, value in found if (ROOT / file.parts[4]).is_dir()]


def memory_used_mib(lab: str, guest: str) -> int | None:
    """Memory in use without the page cache, which is given back when needed."""
    unified = is_unified()
    group = (ROOT if unified else ROOT / "memory") / lab / guest
    try:
        used = int((group / ("memory.current" if unified else "memory.usage_in_bytes")).read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    cached = int(stat.get("file" if unified else "total_cache", 0))
    return max(0, used - cached) // 2**20


def remove(lab: str) -> None:
    """Remove every group of a lab, innermost first; those with processes stay."""
    for tree in _trees():
        top = tree / lab
        if not top.is_dir():
            continue
        for directory, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(directory)


def processes(lab: str, guest: str = "") -> list[int]:
    """Numbers of the processes inside a lab's groups, or one guest's."""
    found: set[int] = set()
    for tree in _trees():
        for file in (tree / lab / guest).rglob("cgroup.procs"):
            with contextlib.suppress(OSError):
                found |= {int(line) for line in file.read_text().split()}
    return sorted(found)
