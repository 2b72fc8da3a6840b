"""`./voip bans`: list, lift."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from voip_stack.cli.guard import guarded

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
Json = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]


def _list(as_json: Json = False) -> None:
    """Whom the proxies have shut out, why, and for how long still.

    A source is an IPv4 address or an IPv6 network of 64 bits. Reasons: flood (too many requests,
    pillar: routing.pike), auth (wrong passwords, pillar: toll.auth_failures).
    \b
    JSON: [{host, proxy, source, reason, left_s}].
    \b
    Examples:
      ./voip bans list
      ./voip bans list --json
    """
    from voip_stack import bans
    from voip_stack.cli.hosts import pillar

    rows = bans.listed(pillar())
    typer.echo(json.dumps(rows, indent=2)) if as_json else _show(rows, "Nobody is shut out.")


def _lift(
    source: Annotated[list[str] | None, typer.Argument(help="As `list` tells it.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Everybody.")] = False,
    as_json: Json = False,
) -> None:
    """Let a source in again, its wrong passwords forgotten, at every proxy.

    \b
    JSON: the bans that were lifted, as `list` tells them.
    \b
    Examples:
      ./voip bans lift 198.18.64.100
      ./voip bans lift 2001:db8:0:1::/64 --json
      ./voip bans lift --all
    """
    from voip_stack import bans
    from voip_stack.cli.hosts import pillar
    from voip_stack.problem import Problem

    if bool(source) == every:
        raise Problem("Whom?", "./voip bans lift", "a source, or --all", 2)
    rows = bans.lift(pillar(), list(source or []))
    typer.echo(json.dumps(rows, indent=2)) if as_json else _show(rows, "Nobody was shut out.")


def _show(rows: list[dict[str, Any]], nothing: str) -> None:
    from rich.console import Console
    from rich.table import Table

    if not rows:
        typer.echo(nothing)
        return
    columns = ("source", "reason", "left_s", "host", "proxy")
    grid = Table(*columns)
    for row in rows:
        grid.add_row(*(str(row[column]) for column in columns))
    Console().print(grid)


for _name, _function in (("list", _list), ("lift", _lift)):
    app.command(_name)(guarded(_function))
