"""`./voip up`."""

from __future__ import annotations

from typing import Annotated

import typer


def up(
    provider: Annotated[
        str | None,
        typer.Option("--provider", help="lab, lima or hosts; found out when not given."),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Install what is missing without asking.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, change nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The summary as JSON.")] = False,
) -> None:
    """Start the guests, the Salt master and minions, and converge every host.

    Run again, it goes on where it stopped; when all is done, it changes nothing.

    \b
    Examples:
      ./voip up
      ./voip up --provider lab --yes
      ./voip up --dry-run
    """
    import json

    from voip_stack.up.run import run
    from voip_stack.up.summary import print_summary

    summary = run(provider, yes=yes, dry_run=dry_run)
    if as_json:
        typer.echo(json.dumps(summary.as_dict(), indent=2))
    elif not dry_run:
        print_summary(summary)
    if not summary.is_ok:
        raise typer.Exit(1)
