"""Run limactl. Everything that can be decided without it is in plan.py."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from voip_stack.problem import Problem

QUICK_S = 30
# A first start downloads an image and builds the minion's environment.
START_S = 1800


class Limactl:
    """The program and how it failed. program: a path, for tests; the one in PATH otherwise."""

    def __init__(self, program: str | None = None):
        self.program = program or os.environ.get("LIMACTL", "limactl")

    def is_installed(self) -> bool:
        return shutil.which(self.program) is not None

    def command(self, arguments: Sequence[str]) -> list[str]:
        return [self.program, *arguments]

    def read(self, *arguments: str) -> str:
        """Standard output of a quick command. Raises Problem with limactl's own last words."""
        return self._run(list(arguments), QUICK_S).stdout

    def act(self, arguments: Sequence[str], log: Path | None = None) -> None:
        """Run a planned command; its whole output goes to `log`, its last words to the Problem."""
        done = self._run(list(arguments), START_S)
        if log is not None:
            with log.open("a") as file:
                file.write(f"$ {' '.join(self.command(arguments))}\n{done.stdout}{done.stderr}")

    def _run(self, arguments: list[str], timeout_s: float) -> subprocess.CompletedProcess:
        command = self.command(arguments)
        text = " ".join(command)
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=False,
            )
        except FileNotFoundError as error:
            raise Problem(
                "limactl is not installed", how="brew install lima, or https://lima-vm.io"
            ) from error
        except subprocess.TimeoutExpired as error:
            raise Problem(f"{text} did not end in {timeout_s:.0f} s") from error
        if done.returncode:
            words = [line for line in done.stderr.splitlines() if line.strip()]
            raise Problem(
                f"{text} failed ({done.returncode})",
                where=words[-1] if words else "",
                how="limactl's own log: ha.stderr.log below the instance's directory",
            )
        return done
