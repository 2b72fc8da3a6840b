"""`./voip drain HOST`."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer


def drain(
    host: Annotated[str, typer.Argument(help="A media host.")],
    wait: Annotated[
        str, typer.Option("--wait", help="How long its calls may last: 90s, 30m, 4h.")
    ] = "30m",
    undo: Annotated[bool, typer.Option("--undo", help="Bring it back.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Take a media host out for maintenance without cutting a call.

    New calls go to the other media hosts, those that are there end by themselves; then self-repair
    leaves the host alone. It stays drained, also over restarts and `up`, until --undo. Calls of
    another relay that it had taken over go back with about a second of silence.

    \b
    JSON: {host, state: drained or back, waited_s}.

    \b
    Examples:
      ./voip drain media-1
      ./voip drain media-1 --wait 4h
      ./voip drain media-1 --undo
    """
    from voip_stack import drain as draining
    from voip_stack.cli.duration import seconds
    from voip_stack.cli.hosts import require_host
    from voip_stack.steps import Steps, elapsed

    require_host(host)
    limit_s = seconds(wait)
    found: dict[str, Any] = {"host": host, "state": "back", "waited_s": None}
    with Steps("drain") as steps:
        if undo:
            with steps.step(f"Bring {host} back") as step:
                if not draining.undo(host, step):
                    step.done("it was not drained")
        else:
            with steps.step(f"Keep new calls from {host}") as step:
                draining.begin(host, step)
            with steps.step(f"Wait until {host} carries no call") as step:
                found |= {
                    "state": "drained",
                    "waited_s": round(draining.wait(host, limit_s, step), 1),
                }
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    elif undo:
        typer.echo(f"{host} takes calls")
    else:
        typer.echo(f"{host} is drained ({elapsed(found['waited_s'])}); ./voip drain {host} --undo")
