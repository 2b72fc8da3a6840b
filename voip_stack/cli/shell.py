"""`./voip shell HOST [-- COMMAND...]`."""

from __future__ import annotations

from typing import Annotated

import typer


def shell(
    host: Annotated[str, typer.Argument(help="A host of pillar/topology.yaml.")],
    command: Annotated[
        list[str] | None, typer.Argument(help="Run this instead of a login shell.")
    ] = None,
) -> None:
    """A root shell on a host, or one command there; its exit code is passed on.

    \b
    Examples:
      ./voip shell sip-1
      ./voip shell sip-1 -- kamcmd core.info
    """
    from voip_stack.cli.hosts import provider_of, require_host

    require_host(host)
    words = command or []
    if words and words[0] == "--":
        words = words[1:]
    raise typer.Exit(provider_of().shell(host, words))
