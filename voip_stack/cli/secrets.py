"""`./voip secrets`."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated, Any

import typer

DAY_S = 86_400


class Action(StrEnum):
    list = "list"
    rotate = "rotate"


def secrets(
    action: Annotated[Action, typer.Argument(help="What to do.")] = Action.list,
    host: Annotated[
        list[str] | None, typer.Option("--host", help="Of this host only; may be repeated.")
    ] = None,
    name: Annotated[
        list[str] | None, typer.Option("--name", help="Of this name only; may be repeated.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="rotate: those that are not due as well.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Age of each secret, and rotation: no call, registration or query notices. No value is shown.

    `rotate` rotates what is due and ends what a crash interrupted, as the master does by itself.
    \b
    JSON of list: {secrets: [{host, name, kind, phase, age_s, due_in_s}]}; of rotate: {rotated:
    {"host/name": [step, ...]}, left: ["host/name", ...]}.
    \b
    Examples:
      ./voip secrets
      ./voip secrets rotate
      ./voip secrets rotate --host sip-1 --name postgresql --force
      ./voip secrets --json | jq '.secrets[] | select(.due_in_s < 0)'
    """
    from voip_stack.master import client

    wanted = {"hosts": host or None, "secrets": name or None}
    if action is Action.list:
        found = client.runner("voip_rotation.survey", **wanted)
        if as_json:
            typer.echo(json.dumps({"secrets": found}, indent=2))
        else:
            _show(found)
        return
    done = client.runner("voip_rotation.rotate", **wanted, force=force)
    if as_json:
        typer.echo(json.dumps(done, indent=2))
        return
    for key in done["rotated"]:
        typer.echo(f"rotated  {key}")
    for key in done["left"]:
        typer.echo(f"not due  {key}")


def _show(found: list[dict[str, Any]]) -> None:
    from rich.table import Table

    from voip_stack.cli.console import wide_console

    table = Table(box=None, pad_edge=False)
    for heading in ("host", "secret", "kind", "age", "due in", "rotation"):
        table.add_column(heading)
    for item in found:
        due = days(item["due_in_s"]) if item["due_in_s"] > 0 else "now"
        phase = "-" if item["phase"] == "stable" else item["phase"]
        table.add_row(item["host"], item["name"], item["kind"], days(item["age_s"]), due, phase)
    wide_console().print(table)


def days(seconds: int) -> str:
    """Like 12 days, or hours and minutes where that says more."""
    if seconds >= 2 * DAY_S:
        return f"{seconds // DAY_S} days"
    if seconds >= 2 * 3600:
        return f"{seconds // 3600} h"
    return f"{seconds // 60} min"
