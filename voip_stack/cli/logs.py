"""`./voip logs HOST [UNIT]`."""

from __future__ import annotations

from typing import Annotated

import typer


def logs(
    host: Annotated[str, typer.Argument(help="A host, or `master` for the Salt master's log.")],
    unit: Annotated[
        str | None, typer.Argument(help="A unit of that host, such as kamailio.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines come.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many lines.")] = 100,
) -> None:
    """The journal of a host, or of one unit there.

    \b
    Examples:
      ./voip logs sip-1 kamailio
      ./voip logs media-1 rtpengine-daemon -f
      ./voip logs master -n 20
    """
    from voip_stack.cli.hosts import provider_of, require_host

    if host == "master":
        _master(follow, lines)
    require_host(host)
    command = ["journalctl", "--no-pager", "--output=short-iso", f"--lines={lines}"]
    if unit:
        command.append(f"--unit={unit}")
    if follow:
        command.append("--follow")
    raise typer.Exit(provider_of().shell(host, command))


def _master(follow: bool, lines: int) -> None:
    import os

    from voip_stack.master import daemon
    from voip_stack.problem import Problem

    file = daemon.log_file()
    if not file.exists():
        raise Problem("There is no log of a Salt master", str(file), "./voip up")
    words = ["tail", "-n", str(lines), *(["-F"] if follow else []), str(file)]
    os.execvp("tail", words)  # noqa: S606 - fixed program
