"""The console that results are shown on."""

from __future__ import annotations

import sys

from rich.console import Console

# In a pipe or a log nothing needs to fit a screen: no cell is cut.
PIPE_WIDTH = 200


def wide_console() -> Console:
    """Standard output: as wide as its terminal, wide enough where it is none."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
