"""`./voip switch-proxy [PROXY]`."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def switch_proxy(
    proxy: Annotated[
        str | None, typer.Argument(help="opensips or kamailio; without: go on, or tell.")
    ] = None,
    wait: Annotated[
        str, typer.Option("--wait", help="How long devices may take to move: 90s, 15m, 1h.")
    ] = "15m",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Make PROXY the primary one: new calls at once, each device when it renews its registration.

    Writes routing.primary_proxy into pillar/policies.yaml and runs orch.switch_proxy. No call ends,
    and none fails: a device in a call moves after it. Who is left after --wait stays in service
    where it is; the same command goes on. Exit 1 while somebody is left.

    \b
    JSON: {to, was, moved: [numbers], left, calls, took_s}.

    \b
    Examples:
      ./voip switch-proxy kamailio
      ./voip switch-proxy opensips --wait 1h
      ./voip switch-proxy --json
    """
    from voip_stack import switch
    from voip_stack.cli.duration import seconds
    from voip_stack.steps import Steps, elapsed
    from voip_stack.up import converge

    wait_s = seconds(wait)
    was = switch.primary()
    with Steps("switch-proxy") as steps:
        if proxy is not None:
            with steps.step(f"Declare {proxy} the primary proxy") as step:
                step.done("" if switch.declare(proxy) else "it was already")
        with steps.step("Move devices and new calls to it") as step:
            run = converge.orchestrate("switch_proxy", step, {"switch": {"wait_s": wait_s}})
            found = run.returned["Move who is registered elsewhere"]
            step.done(f"{len(found['moved'])} moved, {found['left']} left")
    if as_json:
        typer.echo(json.dumps({"was": was} | found, indent=2))
    else:
        typer.echo(
            f"{found['to']} is the primary proxy: {len(found['moved'])} devices moved in "
            f"{elapsed(found['took_s'])}, {found['left']} left, {found['calls']} calls go on"
        )
    if found["left"]:
        raise typer.Exit(1)
