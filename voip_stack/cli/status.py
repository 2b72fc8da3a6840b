"""`./voip status`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from voip_stack.health import Health


def status(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    every: Annotated[bool, typer.Option("--all", help="Every lab of this machine.")] = False,
) -> None:
    """Guests, minions, components with their versions; exit 1 when something is not as it should.

    \b
    Examples:
      ./voip status
      ./voip status --json | jq '.components[] | select(.active != "active")'
      ./voip status --all
    """
    if every:
        _labs(as_json)
        return
    from voip_stack.health import look

    health = look()
    if as_json:
        typer.echo(json.dumps(health.as_dict(), indent=2))
    else:
        _show(health)
    if not health.is_ok:
        raise typer.Exit(1)


def _show(health: Health) -> None:
    from rich.table import Table
    from rich.text import Text

    from voip_stack.cli.console import wide_console

    console = wide_console()
    master = f"running (process {health.master['pid']})" if health.master["running"] else "stopped"
    when = health.converged or "not converged"
    console.print(f"provider {health.provider}; Salt master {master}; converged: {when}")
    guests = Table(box=None, pad_edge=False)
    for heading in ("host", "guest", "minion", "internal", "external"):
        guests.add_column(heading)
    for host, guest in health.guests.items():
        answer = {True: "answers", False: "silent", None: "none"}[health.minions.get(host)]
        addresses = [guest.get(network) or "-" for network in ("internal", "external")]
        guests.add_row(host, _word(guest["state"], "running"), _word(answer, "answers"), *addresses)
    console.print(guests)
    if health.components:
        console.print()
        parts = Table(box=None, pad_edge=False)
        for heading in ("host", "component", "state", "version", "lowest safe", "source", "note"):
            parts.add_column(heading)
        for item in health.components:
            safe = Text(item.safe or "-", style="red" if item.is_safe is False else "")
            parts.add_row(
                item.host,
                item.name,
                _word(item.active, "active"),
                item.version or "-",
                safe,
                item.source or "-",
                Text(item.problem, style="red") if item.problem else Text(item.note or ""),
            )
        console.print(parts)
    if health.primary:
        console.print(f"primary proxy: {health.primary}", markup=False)
    from voip_stack.cli.maintenance import line

    for host, entry in sorted(health.maintenance.items()):
        console.print(line(host, entry), markup=False)
    if health.trial:
        from voip_stack.pillar.trial import Trial
        from voip_stack.soak.trials import words

        console.print(words(Trial(**health.trial)), markup=False)
    for host, entry in sorted(health.drained.items()):
        legs = "" if entry["legs"] is None else f", {entry['legs']} legs of calls left"
        console.print(f"{host}: {entry['state']}{legs}", markup=False)
    for component, why in health.unavailable.items():
        console.print(f"unavailable: {component}: {why}", markup=False)


def _word(word: str, good: str) -> str:
    colour = "green" if word == good else "dim" if word == "none" else "red"
    return f"[{colour}]{word}[/]"


def _labs(as_json: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    from voip_stack import providers
    from voip_stack.cli.console import wide_console

    labs = providers.labs_of_the_machine()
    if as_json:
        typer.echo(json.dumps([lab.as_dict() for lab in labs], indent=2))
        return
    if not labs:
        typer.echo("There is no lab on this machine.")
        return
    grid = Table(box=None, pad_edge=False)
    headings = list(labs[0].as_dict())
    for heading in headings:
        grid.add_column(heading.replace("_", " "))
    for lab in labs:
        grid.add_row(*(Text(str(value)) for value in lab.as_dict().values()))
    wide_console().print(grid)
