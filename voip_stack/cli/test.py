"""`./voip test [KIND...] [pytest's arguments]`."""

from __future__ import annotations

from typing import Annotated

import typer


def run_tests(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KIND...] [--no-lab] [PYTEST...]",
            help="unit, render, functional, integration, kernel, lab; by default all; "
            "what follows goes to pytest.",
        ),
    ] = None,
) -> None:
    """Run the tests in one pytest run; the first lab test brings the lab up when it is down.

    `kernel` boots Debian's kernel under qemu and tries RTPEngine's module in it. On a machine that
    cannot hold a lab or qemu the rest runs, what did not is named, and the exit code is 1; with
    --no-lab both are left out on purpose and do not count.

    \b
    Examples:
      ./voip test unit render
      ./voip test lab -k firewall
      ./voip test kernel
      ./voip test --no-lab
    """
    from voip_stack.testing import run

    raise typer.Exit(run(arguments or []))
