"""`./voip destroy`."""

from __future__ import annotations

from typing import Annotated

import typer


def destroy(
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
      ./voip destroy --lab voip-1a2b3c4d     # a lab whose checkout is gone
    """
    from voip_stack.cli.confirm import confirm
    from voip_stack.steps import Steps
    from voip_stack.teardown import destroy_checkout, destroy_other

    if lab:
        confirm(f"Destroy the lab {lab} of this machine?", yes)
        with Steps("destroy") as steps:
            destroy_other(lab, steps)
        return
    confirm("Destroy every guest of this checkout, and what they hold?", yes)
    with Steps("destroy") as steps:
        destroy_checkout(steps)
