"""What this machine is, what it lacks, and the plan to mend it. Looking is apart from deciding."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from voip_stack.problem import Problem

EXIT_MACHINE = 3


@dataclass(frozen=True)
class Machine:
    """system: as platform.system(); distribution: os-release's ID, "" elsewhere."""

    system: str
    distribution: str
    is_root: bool
    missing: tuple[str, ...]  # of the packages asked for; empty where there is no dpkg
    has_apt: bool = True


@dataclass(frozen=True)
class Plan:
    """install: Debian packages to install; problem: why nothing can be done, or None."""

    install: tuple[str, ...] = ()
    problem: Problem | None = None


def look(packages: Iterable[str]) -> Machine:
    """Find out; changes nothing."""
    return Machine(
        system=platform.system(),
        distribution=_distribution(),
        is_root=os.geteuid() == 0,
        missing=tuple(_missing(list(packages))),
        has_apt=shutil.which("apt-get") is not None,
    )


def plan(machine: Machine) -> Plan:
    """Decide what to install, or say what to do instead."""
    if not machine.missing:
        return Plan()
    names = " ".join(machine.missing)
    what = f"This machine lacks {', '.join(machine.missing)}"
    if machine.distribution not in ("debian", "ubuntu") or not machine.has_apt:
        system = machine.distribution or machine.system
        how = "install what these Debian packages hold by your system's own means, or use Debian 12"
        return Plan(problem=Problem(what, system, how, EXIT_MACHINE))
    if not machine.is_root:
        how = f"sudo apt-get install {names}"
        return Plan(problem=Problem(what, machine.distribution, how, EXIT_MACHINE))
    return Plan(install=machine.missing)


def architecture() -> str:
    """Debian's name of this machine's architecture: guests have the same."""
    name = platform.machine()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(name, name)


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("ID", "")
    except OSError:
        return ""


def _missing(packages: list[str]) -> list[str]:
    if not packages or not Path("/var/lib/dpkg/status").exists():
        return packages
    asked = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *packages],
        capture_output=True,
        text=True,
        check=False,
    )
    return not_installed(packages, asked.stdout)


def not_installed(packages: list[str], answer: str) -> list[str]:
    """Of `packages` those that dpkg-query's answer does not call installed."""
    installed = {
        words[0] for line in answer.splitlines() if (words := line.split())[1:] == ["installed"]
    }
    return [name for name in packages if name not in installed]
