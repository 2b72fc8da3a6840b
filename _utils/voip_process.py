"""Run a command with a deadline and an output that can be parsed. No dunders."""

import os
import subprocess

from salt.exceptions import CommandExecutionError

_PLAIN = {"LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}


def run(argv, timeout_s=60):
    """Return the finished process, whatever its exit code.

    Raises CommandExecutionError when it cannot be started or does not end in `timeout_s`.
    """
    try:
        return subprocess.run(
            argv, capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False,
            env=os.environ | _PLAIN,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as err:
        raise CommandExecutionError(f"{argv[0]}: {err}") from err


def must(argv, what, timeout_s=60):
    """Return what it prints. Raises CommandExecutionError `what: its last line` on failure."""
    done = run(argv, timeout_s)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise CommandExecutionError(f"{what}: {said[-1] if said else f'exit {done.returncode}'}")
    return done.stdout


def read(path):
    """A file's text, "" when there is none or it is not ours to read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
