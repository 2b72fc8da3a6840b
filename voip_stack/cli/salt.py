"""`./voip salt ...`: Salt's own command against this checkout's master, from any directory."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer


def salt(
    arguments: Annotated[list[str], typer.Argument(help="What follows goes to Salt's `salt`.")],
) -> None:
    """Salt's `salt`, with this checkout's master. The same as .venv/bin/salt in the checkout.

    \b
    Examples:
      ./voip salt '*' test.ping
      ./voip salt sip-1 state.apply test=True
    """
    from voip_stack import paths
    from voip_stack.master import daemon
    from voip_stack.problem import Problem

    if not daemon.is_running():
        raise Problem("The Salt master does not run", str(paths.master_dir()), "./voip up")
    program = str(Path(sys.executable).with_name("salt"))
    sys.stdout.flush()
    os.execv(program, [program, "-c", str(paths.master_dir()), *arguments])  # noqa: S606
