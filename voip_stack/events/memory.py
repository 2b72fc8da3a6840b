"""What the master remembers between events: one JSON file, changed under a lock.

The master's threads and the command line both write it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from voip_stack.deployment import write_atomic
from voip_stack.locked import locked


def read(file: Path) -> dict[str, Any]:
    """What is remembered, {} when nothing is yet."""
    try:
        return dict(json.loads(file.read_text()))
    except FileNotFoundError:
        return {}


@contextmanager
def changing(file: Path) -> Iterator[dict[str, Any]]:
    """Yield what is remembered, to be changed; kept when the block ends without an exception."""
    with locked(file.with_suffix(".lock")):
        known = read(file)
        yield known
        write_atomic(file, json.dumps(known, indent=1) + "\n", 0o600)
