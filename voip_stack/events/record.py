"""Records of what happened: one JSON object a line, below the state directory.

Written by the master's threads and processes at the same time, read by the command line. A file is
put aside once it is large, and one generation is kept: nobody can fill the disk by events.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from voip_stack import paths
from voip_stack.locked import locked

LARGEST_BYTES = 8 * 1024 * 1024


def directory() -> Path:
    return paths.state_dir() / "events"


def file(name: str) -> Path:
    return directory() / f"{name}.jsonl"


def append(name: str, entry: dict[str, Any]) -> dict[str, Any]:
    """Add `entry` with the time (ISO 8601, UTC) to the record `name`. Returns what was written."""
    now = time.time()
    written = {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)), "time": now, **entry}
    target = file(name)
    with locked(directory() / f".{name}.lock"):
        if target.exists() and target.stat().st_size > LARGEST_BYTES:
            target.replace(target.with_suffix(".jsonl.1"))
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(json.dumps(written, default=str) + "\n")
    return written


def read(name: str, since: float = 0.0) -> Iterator[dict[str, Any]]:
    """The entries of a record, oldest first. since: seconds of the epoch.

    A line that a crash left half written is passed over.
    """
    for source in (file(name).with_suffix(".jsonl.1"), file(name)):
        try:
            lines = source.read_text().splitlines()
        except FileNotFoundError:
            continue
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if entry.get("time", 0) >= since:
                yield entry
