"""A file as a lock among threads, processes and commands: the kernel's (flock)."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(file: Path, *, waits: bool = True) -> Iterator[bool]:
    """Hold `file`, made with its folder where it is missing (0600 in 0700).

    Yields True; with waits=False at once, and False while somebody else holds it. A process that
    is killed leaves no lock behind.
    """
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # An open file description of its own each time: threads of one process exclude each other too.
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
