"""`./voip destroy`."""

from __future__ import annotations

from typing import Annotated

import typer


def destroy(
    host: Annotated[
        str | None, typer.Argument(help="Only this host, and its identity in the Vault.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    lab: Annotated[
        str | None,
        typer.Option("--lab", help="Another lab of this machine, by its name in `status --all`."),
    ] = None,
) -> None:
    """Stop the Salt master, remove guests, network and keys; the machine is as it was.

    The cache (~/.cache/voip-stack) stays. Running it again, or where nothing runs, does no harm.

    \b
    Examples:
      ./voip destroy
      ./voip destroy --yes
      ./voip destroy sip-1                   # revoked, removed; `up` makes it anew
      ./voip destroy --lab voip-1a2b3c4d     # a lab whose checkout is gone
    """
    from voip_stack.cli.confirm import confirm
    from voip_stack.cli.hosts import require_host
    from voip_stack.steps import Steps
    from voip_stack.teardown import destroy_checkout, destroy_host, destroy_other

    if lab and host:
        raise typer.BadParameter("a host of this checkout, or another lab: not both")
    if lab:
        confirm(f"Destroy the lab {lab} of this machine?", yes)
        with Steps("destroy") as steps:
            destroy_other(lab, steps)
        return
    if host:
        require_host(host)
        confirm(f"Destroy {host}, what it holds and all its secrets in the Vault?", yes)
        with Steps("destroy") as steps:
            destroy_host(host, steps)
        return
    confirm("Destroy every guest of this checkout, and what they hold?", yes)
    with Steps("destroy") as steps:
        destroy_checkout(steps)
