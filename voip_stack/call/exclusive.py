"""One run of test calls at a time in a checkout: two would answer each other's calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from voip_stack import paths
from voip_stack.locked import locked
from voip_stack.problem import Problem


@contextmanager
def one_at_a_time(say: Callable[[str], object]) -> Iterator[None]:
    """Wait for the end of another run, which `say` is told. Problem without a deployment."""
    path = paths.state_dir() / "call.lock"
    if not path.parent.is_dir():
        raise Problem("There is no platform to call through", str(path.parent), "./voip up")
    with locked(path, waits=False) as is_free:
        if is_free:
            yield
            return
    say("another run of test calls is at work in this checkout: waiting for its end")
    with locked(path):
        yield
