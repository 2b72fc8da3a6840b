"""ansible-core in an environment of its own, kept in the cache by its lock file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from voip_stack import paths
from voip_stack.cache import Cache, digest
from voip_stack.problem import Problem

# What Ansible's own script of that name does. The script itself names the place it was made in,
# and an entry of the cache is moved when it is whole.
PLAYBOOK = "from ansible.cli.playbook import main; main()"


def lock() -> Path:
    return paths.checkout() / "requirements" / "bench.lock"


def python() -> Path:
    """The interpreter that has ansible-core. Problem when pip cannot have it."""
    key = digest(sys.version, lock())
    return Cache().entry("ansible", key, _make) / "bin" / "python"


def _make(directory: Path) -> None:
    _run([sys.executable, "-m", "venv", str(directory)])
    common = ["--require-hashes", "--no-deps", "--disable-pip-version-check", "--quiet"]
    _run([str(directory / "bin" / "python"), "-m", "pip", "install", *common, "-r", str(lock())])


def _run(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-500:]
        raise Problem(
            f"ansible-core cannot be had: {said}",
            str(lock()),
            "check that this host's pip reaches its index, then ./voip bench salt",
        )
