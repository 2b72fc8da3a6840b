"""`./voip recordings`: list, fetch, audit, start."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from voip_stack.cli.guard import guarded

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
Json = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]


def _list(
    number: Annotated[str | None, typer.Option(help="Of this subscriber only.")] = None,
    as_json: Json = False,
) -> None:
    """What the media relays keep, the newest first.

    \b
    Examples:
      ./voip recordings list
      ./voip recordings list --number 1001 --json
    """
    from voip_stack import recordings
    from voip_stack.cli.hosts import pillar

    rows = [row for row in recordings.kept(pillar()) if number in (None, row.get("number"))]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    columns = ("id", "number", "peer", "seconds", "bytes", "relay")
    _table(columns, rows)


def _fetch(
    recording: Annotated[str, typer.Argument(metavar="ID", help="As `list` tells it.")],
    to: Annotated[Path | None, typer.Option(help="The file; default ID.wav here.")] = None,
    pcap: Annotated[bool, typer.Option("--pcap", help="The packets, not the sound.")] = False,
    as_json: Json = False,
) -> None:
    """Fetch a recording and open it with the Vault's key. The relay notes who fetched it.

    \b
    A WAV file has the end that was heard first on the left channel, the other one on the right.
    \b
    Examples:
      ./voip recordings fetch 20260102T080910Z-1001-0a1b2c3d
      ./voip recordings fetch 20260102T080910Z-1001-0a1b2c3d --pcap --to call.pcap
    """
    from voip_stack import recordings
    from voip_stack.cli.hosts import pillar, provider_of

    target = to or Path(f"{recording}.{'pcap' if pcap else 'wav'}")
    about = recordings.fetch(pillar(), provider_of(), recording, target, pcap)
    typer.echo(json.dumps(about, indent=2) if as_json else f"{about['file']}: {about['bytes']} B")


def _audit(as_json: Json = False) -> None:
    """Who fetched what, the newest first.

    \b
    Examples:
      ./voip recordings audit --json
    """
    from voip_stack import recordings
    from voip_stack.cli.hosts import pillar

    rows = recordings.audit(pillar())
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    shown = [{**row, "time": time.strftime("%F %T", time.localtime(row["time"]))} for row in rows]
    _table(("time", "recording", "by", "relay"), shown)


def _start(
    call_id: Annotated[str, typer.Argument(metavar="CALL-ID", help="Of a call that is going on.")],
    as_json: Json = False,
) -> None:
    """Record a call that is going on, from now to its end.

    \b
    Examples:
      ./voip salt sip-1 kamailio.dialogs
      ./voip recordings start 3f1c2a@198.18.64.100
    """
    from voip_stack import recordings
    from voip_stack.cli.hosts import pillar

    relay = recordings.start(pillar(), call_id)
    typer.echo(json.dumps({"relay": relay, "call_id": call_id}) if as_json else f"{relay} records")


def _table(columns: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    grid = Table(*columns)
    for row in rows:
        grid.add_row(*(str(row.get(column, "")) for column in columns))
    Console().print(grid)


for _name, _function in (
    ("list", _list),
    ("fetch", _fetch),
    ("audit", _audit),
    ("start", _start),
):
    app.command(_name)(guarded(_function))
