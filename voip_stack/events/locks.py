"""One at a time: of a certificate's renewal, a service's repair, a rotation."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator

from voip_stack import paths
from voip_stack.locked import locked
from voip_stack.problem import Problem

_PAUSE_S = 0.1


class Busy(Problem):
    """Somebody else holds the lock."""


@contextlib.contextmanager
def one_at_a_time(name: str) -> Iterator[bool]:
    """Yield True to the one who holds `name`, False at once to everybody else.

    name: of this platform's own making, as `certificate/sip-1/kamailio`.
    """
    file = paths.state_dir() / "locks" / re.sub(r"[^A-Za-z0-9._-]", "_", name)
    with locked(file, waits=False) as is_ours:
        yield is_ours


@contextlib.contextmanager
def in_turn(name: str, wait_s: float) -> Iterator[None]:
    """Hold `name`, once whoever holds it now has ended. Busy when that is not in `wait_s`."""
    deadline = time.monotonic() + wait_s
    while True:
        with one_at_a_time(name) as is_ours:
            if is_ours:
                yield
                return
        if time.monotonic() >= deadline:
            raise Busy(
                f"Somebody else is at work on {name}",
                f"{paths.state_dir()}/locks, for {wait_s:.0f} s",
                "wait for it to end, then try again",
            )
        time.sleep(_PAUSE_S)
