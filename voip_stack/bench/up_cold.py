"""`bench up-cold`: `bench up` with an empty cache: images, wheels and packages are made anew."""

from __future__ import annotations

import tempfile

from voip_stack.bench.report import Result
from voip_stack.bench.up import measure

ROUNDS = 1
GOAL_S = 1200.0


def run(rounds: int) -> list[Result]:
    """Each round starts with a cache directory that holds nothing."""
    numbers: list[Result] = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="voip-cold-") as cache:
            numbers = measure(1, GOAL_S, {"VOIP_CACHE_DIR": cache})
    return numbers
