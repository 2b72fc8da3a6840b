"""Run the system's own tools; a failure names the tool and what it said."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from voip_stack.problem import Problem


def run(argv: Sequence[str], *, stdin: str | None = None, check: bool = True) -> str:
    """Run a command, return its output. Problem when it fails and `check`."""
    done = subprocess.run(
        argv, input=stdin or "", capture_output=True, text=True, errors="replace", check=False
    )
    if check and done.returncode:
        said = (done.stderr or done.stdout).strip()[-800:]
        raise Problem(f"{argv[0]} failed (exit {done.returncode}): {said}", " ".join(argv)[:300])
    return done.stdout
