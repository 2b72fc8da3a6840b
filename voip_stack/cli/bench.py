"""`./voip bench NAME`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def bench(
    name: Annotated[
        str | None, typer.Argument(help="Which bench; without a name they are listed.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Exit 1 when a goal is missed.")] = False,
    rounds: Annotated[
        int | None, typer.Option("--rounds", min=1, help="How often to measure.")
    ] = None,
    service: Annotated[
        str | None,
        typer.Option("--service", help="repair, reloads, renewal: only this one, as kamailio."),
    ] = None,
    host: Annotated[str | None, typer.Option("--host", help="salt: which host.")] = None,
    minions: Annotated[
        int | None, typer.Option("--minions", min=1, help="salt: how many are simulated.")
    ] = None,
    contacts: Annotated[
        int | None, typer.Option("--contacts", min=1, help="registrations: how many register.")
    ] = None,
    proxy: Annotated[
        str | None, typer.Option("--proxy", help="registrations: at which one, as opensips.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="sip: an SVG picture of it in this file.")
    ] = None,
) -> None:
    """Measure, and compare with the goals.

    \b
    JSON: {bench, rounds, results: [{name, value, unit, goal, met}]}; goal and met are null where
    a number only explains where the time goes.
    \b
    Examples:
      ./voip bench
      ./voip bench apply --rounds 5
      ./voip bench up --json --check
      ./voip bench repair --service kamailio --rounds 3
      ./voip bench reloads
      ./voip bench renewal
      ./voip bench subscribers --check
      ./voip bench salt --host pbx-1 --minions 100
      ./voip bench registrations --contacts 10000 --proxy opensips
      ./voip bench sip --rounds 2 --plot rates.svg
    """
    from voip_stack import bench as benches

    if name is None:
        for key, title in benches.titles().items():
            typer.echo(f"{key:<14}{title}")
        return
    options = {"service": service, "host": host, "minions": minions, "contacts": contacts}
    report = benches.run(name, rounds, **options, proxy=proxy, plot=plot)
    typer.echo(json.dumps(report.as_dict(), indent=2) if as_json else benches.table(report))
    if check and not report.is_met:
        raise typer.Exit(1)
