"""`./voip maintenance [HOST]`."""

from __future__ import annotations

import json
import time
from typing import Annotated

import typer

LONGEST_S = 30 * 86400


def maintenance(
    host: Annotated[
        str | None, typer.Argument(help="A host; without one, what is in maintenance.")
    ] = None,
    duration: Annotated[
        str | None, typer.Option("--for", help="For how long: 90s, 30m, 4h, 2d.")
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Shown by status.")] = "",
    end: Annotated[bool, typer.Option("--end", help="Repair the host again from now on.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Pause self-repair of a host: what you stop or break there is reported and left alone.

    \b
    Examples:
      ./voip maintenance sip-1 --for 30m --reason "kernel upgrade"
      ./voip maintenance sip-1 --end
      ./voip maintenance --json
    """
    from voip_stack.cli.duration import seconds
    from voip_stack.cli.hosts import require_host
    from voip_stack.problem import Problem
    from voip_stack.repair import state

    if host is not None:
        require_host(host)
        if end == (duration is not None):
            raise Problem("Either --for or --end", "", f"./voip maintenance {host} --for 30m", 2)
        if end:
            was = state.end_maintenance(host)
            typer.echo(
                f"{host}: {'repaired again from now on' if was else 'was not in maintenance'}"
            )
            return
        for_s = seconds(duration or "")
        if for_s > LONGEST_S:
            raise Problem(f"{duration} is too long", "", "at most 30d, or take it out of pillar", 2)
        state.maintain(host, for_s, reason)
    elif end or duration is not None:
        raise Problem("Which host?", "", "./voip maintenance HOST --for 30m", 2)
    found = state.maintenance()
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    elif not found:
        typer.echo("No host is in maintenance.")
    for name, item in sorted(found.items() if not as_json else ()):
        typer.echo(line(name, item))


def line(host: str, item: dict) -> str:
    """'sip-1: maintenance until 14:30:00: kernel upgrade'."""
    until = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(item["until"]))
    why = f": {item['reason']}" if item["reason"] else ""
    return f"{host}: maintenance until {until}{why}"
