"""Wheels for the minions' environments, so that guests need no Python index.

The host's pip fetches them, with the host's own index and certificates, for the guest's Python.
"""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from packaging.markers import Marker

from voip_stack import paths
from voip_stack.cache import Cache, digest
from voip_stack.problem import Problem
from voip_stack.providers.base import Progress
from voip_stack.providers.lab.commands import run_long

# Python of each Debian release, as it was released.
PYTHON = {"bookworm": "3.11.2", "trixie": "3.13.5"}
# Published as source only, and pure Python: one wheel, made by the host's Python, fits all.
SOURCE_ONLY = ("salt",)
# timelib: C sources without a wheel, for the `strtotime` Jinja filter alone. The others are a
# third of the environment's files: cloud drivers, and time zones that the guest has anyway.
LEFT_OUT = ("timelib", "apache-libcloud", "tzdata")
_GLIBC = ("2_36", "2_35", "2_34", "2_31", "2_28", "2_27", "2_26", "2_24", "2_17", "2_12", "2_5")
REVISION = "2"


def locks(extras: Sequence[str]) -> list[Path]:
    """Lock files of a minion's environment; extras: names of further ones (devstack)."""
    directory = paths.checkout() / "requirements"
    return [directory / "minion.lock", *(directory / f"{name}.lock" for name in extras)]


def requirements(text: str, python: str) -> dict[str, str]:
    """Name -> its entry (version, hashes) of a lock file, where its markers hold for `python`.

    pip takes markers for its own Python, also when it downloads for another.
    """
    joined = text.replace("\\\n", " ")
    found = {}
    environment = {
        "python_full_version": python,
        "python_version": python.rpartition(".")[0],
        "sys_platform": "linux",
    }
    for line in joined.splitlines():
        entry, *hashes = line.split(" #")[0].split(" --hash=")
        name, _, marker = entry.strip().partition(";")
        if "==" not in name or name.startswith("#"):
            continue
        if marker and not Marker(marker.strip()).evaluate(environment):
            continue
        words = [name.strip(), *(f"--hash={item.strip()}" for item in hashes)]
        found[name.split("==")[0].strip().lower()] = " ".join(words)
    return found


def key(suite: str, extras: Sequence[str]) -> str:
    return digest(REVISION, PYTHON[suite], platform.machine(), *LEFT_OUT, *locks(extras))


def ensure(cache: Cache, suite: str, extras: Sequence[str], log: Path, progress: Progress) -> Path:
    """The directory with the wheels and `requirements.txt` for a release's Python."""

    def make(directory: Path) -> None:
        python = PYTHON[suite].rpartition(".")[0]
        progress(f"wheels for Python {python}")
        wanted: dict[str, str] = {}
        for lock in locks(extras):
            wanted |= requirements(lock.read_text(), PYTHON[suite])
        for name in LEFT_OUT:
            wanted.pop(name, None)
        sources = {name: wanted.pop(name) for name in SOURCE_ONLY if name in wanted}
        _write(directory / "binary.txt", wanted)
        _write(directory / "source.txt", sources)
        _write(directory / "requirements.txt", wanted | sources)
        machine = platform.machine()
        tags = [f"--platform=manylinux_{version}_{machine}" for version in _GLIBC]
        # Its alias: pip compares the old name as text.
        tags.append(f"--platform=manylinux2014_{machine}")
        common = ["--no-deps", "--require-hashes", "--disable-pip-version-check"]
        _pip(
            ["download", *common, "--only-binary=:all:", f"--python-version={python}", *tags,
             f"--dest={directory}", f"--requirement={directory / 'binary.txt'}"], log)  # fmt: skip
        if sources:
            _pip(["wheel", *common, f"--wheel-dir={directory}",
                  f"--requirement={directory / 'source.txt'}"], log)  # fmt: skip

    return cache.entry("wheelhouse", key(suite, extras), make)


def _write(file: Path, wanted: dict[str, str]) -> None:
    file.write_text("".join(f"{entry}\n" for entry in wanted.values()))


def _pip(arguments: list[str], log: Path) -> None:
    log.unlink(missing_ok=True)
    if run_long([sys.executable, "-m", "pip", *arguments], log):
        raise pip_problem(log.read_text(errors="replace"), log)


def pip_problem(text: str, log: Path) -> Problem:
    """What pip said last, and what can be done about it."""
    errors = re.findall(r"^ERROR: (.+)$", text, re.MULTILINE) or ["pip failed"]
    hosts = re.findall(r"(?:host=|https?://)'?([\w.-]+)", text)
    where = f"{hosts[-1]}; log {log}" if hosts else str(log)
    return Problem(
        f"The minions' Python packages cannot be had: {errors[-1][:300]}",
        where,
        "check that this host's pip reaches its index (`pip download salt`), then ./voip up",
    )
