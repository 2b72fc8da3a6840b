"""Run the system's own tools; a failure names the tool and what it said."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

from voip_stack.problem import Problem


def run(argv: Sequence[str], *, stdin: str | None = None, check: bool = True) -> str:
    """Run a command, return its output. Problem when it fails and `check`.

    Without the caller's environment: its locale and its settings for pip or apt would leak in.
    """
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        argv,
        input=stdin or "",
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env=environment,
    )
    if check and done.returncode:
        said = (done.stderr or done.stdout).strip()[-800:]
        raise Problem(f"{argv[0]} failed (exit {done.returncode}): {said}", " ".join(argv)[:300])
    return done.stdout
