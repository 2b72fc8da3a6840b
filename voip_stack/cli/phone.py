"""`./voip phone [NUMBER]`: the web phone in a window, for a person to try."""

from __future__ import annotations

import os
from typing import Annotated

import typer


def phone(
    number: Annotated[
        str | None, typer.Argument(metavar="[NUMBER]", help="Sign in as this subscriber.")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Install Chromium unasked, where it is missing.")
    ] = False,
) -> None:
    """Open the web phone in a Chromium of its own, in the network that devices are in.

    It trusts the platform's root certificate and is gone, directory and all, when its window is
    closed. With a number it is signed in, by that subscriber's password from Vault. It needs a
    desktop: DISPLAY or WAYLAND_DISPLAY; by sudo it runs as the user who said it.

    \b
    Examples:
      ./voip phone 1001
      sudo --preserve-env=DISPLAY,XAUTHORITY,XDG_RUNTIME_DIR ./voip phone 1001
    """
    from voip_stack.call.chromium import PACKAGES
    from voip_stack.call.failure import CallError
    from voip_stack.call.window import open_window
    from voip_stack.problem import Problem
    from voip_stack.up.run import install_missing

    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise Problem(
            "There is no desktop to open a window on",
            "DISPLAY, WAYLAND_DISPLAY",
            "run it in a desktop's terminal, or by ssh -X; ./voip call --from-browser needs none",
            2,
        )
    install_missing(PACKAGES, yes)
    try:
        open_window(number)
    except CallError as error:
        raise Problem(f"The web phone did not open: {error.reason}", how="./voip status") from error
