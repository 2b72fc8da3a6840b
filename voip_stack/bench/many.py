"""Many subscribers more, as a file in the pillar, for a bench."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from voip_stack import paths, subscribers
from voip_stack.bench import pressed
from voip_stack.pillar import Pillar
from voip_stack.problem import Problem

# Of nobody: numbers of ten digits, while a site's own are short or begin with its country's code.
FIRST = 8_000_000_000
FILE = "bench-subscribers.csv"


@contextmanager
def declared(pillar: Pillar, host: str, count: int) -> Iterator[Path]:
    """The file is there; at the end, however it comes, it and its subscribers are gone.

    host: whose state.apply makes them real. Raises Problem when the pillar has such numbers.
    """
    path = paths.pillar_dir() / subscribers.FOLDER / FILE
    first = str(FIRST)
    if any(item.number[0] == first[0] and len(item.number) == len(first)
           for item in pillar.subscribers):  # fmt: skip
        raise Problem(f"The pillar has numbers like {first}", str(path), "bench elsewhere")
    lines = (f"{FIRST + index},Person {index}\n" for index in range(count))
    path.write_text("number,name\n" + "".join(lines))
    try:
        yield path
    finally:
        if path.exists():
            path.unlink()
            pressed.state_apply(host)
