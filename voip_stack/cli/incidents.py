"""`./voip incidents`."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

import typer


def incidents(
    host: Annotated[str | None, typer.Option("--host", help="Only this host.")] = None,
    since: Annotated[
        str, typer.Option("--since", help="How far back: 30m, 12h, 7d; `all`.")
    ] = "7d",
    clear: Annotated[
        str | None,
        typer.Option("--clear", help="HOST/SERVICE: no longer degraded, repair it again."),
    ] = None,
    evidence: Annotated[
        str | None, typer.Option("--evidence", help="What the host showed: an incident's ID.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """What failed, what was done about it and how long it took; alerts and security events.

    \b
    Examples:
      ./voip incidents
      ./voip incidents --host sip-1 --since 12h --json
      ./voip incidents --evidence 1f0c5e9a77b2
      ./voip incidents --clear sip-1/kamailio
    """
    from voip_stack.cli.duration import seconds

    if clear is not None:
        _clear(clear)
        return
    if evidence is not None:
        _evidence(evidence)
        return
    start = 0.0 if since == "all" else time.time() - seconds(since)
    found = gather(start, host)
    typer.echo(json.dumps(found, indent=2)) if as_json else _show(found)


def gather(since: float, host: str | None) -> dict[str, list[dict[str, Any]]]:
    """{incidents, alerts, security}, each oldest first, of one host or of all."""
    from voip_stack.events import alerts, record, security
    from voip_stack.repair import incidents as record_of

    every = {
        "incidents": record_of.read(since),
        "alerts": list(record.read(alerts.RECORD, since)),
        "security": list(record.read(security.RECORD, since)),
    }
    return {
        kind: [entry for entry in entries if host in (None, entry["host"])]
        for kind, entries in every.items()
    }


def _clear(target: str) -> None:
    from voip_stack.bench.repair import services
    from voip_stack.cli.hosts import pillar
    from voip_stack.problem import Problem
    from voip_stack.repair import state

    known = [state.key(*item) for item in services(pillar())]
    if target not in known:
        raise Problem(f"There is no service {target}", "--clear", f"one of {', '.join(known)}", 2)
    was = state.forget(*target.split("/"))
    typer.echo(f"{target}: {'no longer degraded' if was else 'was not degraded'}")


def _evidence(identifier: str) -> None:
    from voip_stack.problem import Problem
    from voip_stack.repair.incidents import evidence_dir

    file = evidence_dir() / f"{identifier}.txt"
    if not identifier.isalnum() or not file.exists():
        raise Problem(f"There is no evidence of {identifier}", str(file.parent), "./voip incidents")
    typer.echo(file.read_text())


def _show(found: dict[str, list[dict[str, Any]]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from voip_stack.cli.console import wide_console

    console = wide_console()
    if not any(found.values()):
        console.print("Nothing happened.")
        return
    if found["incidents"]:
        grid = Table(box=None, pad_edge=False)
        for heading in ("when", "id", "host", "service", "seen", "done", "took", "outcome"):
            grid.add_column(heading)
        for item in found["incidents"]:
            grid.add_row(
                _when(item["began"]),
                item["id"],
                item["host"],
                item["service"],
                Text(item["seen"] or "-"),
                Text(", ".join(item["done"]) or "nothing"),
                "-" if item["took_s"] is None else f"{item['took_s']:.1f} s",
                Text(_outcome(item), style=_style(item["outcome"])),
            )
        console.print(grid)
    for kind in ("alerts", "security"):
        for item in found[kind]:
            title = f"{item['kind']} is over" if item.get("cleared") else item["kind"]
            line = f"{_when(item['time'])}  {kind}: {item['host']}: {title}: {item['detail']}"
            console.print(line, markup=False)


def _outcome(item: dict[str, Any]) -> str:
    return f"{item['outcome']}: {item['why']}" if item["why"] else str(item["outcome"])


def _style(outcome: str) -> str:
    return {"repaired": "green", "recovered": "green"}.get(outcome, "red")


def _when(epoch: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(epoch))
