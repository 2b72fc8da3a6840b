"""Kinds of tests beside one another: the lab's in one worker, in their order; the rest in another.

A lab mostly waits, for timers and for media that plays in real time: what else there is to test
has the second core meanwhile.
"""

from __future__ import annotations

import os

from xdist.scheduler import LoadScopeScheduling

# Kinds that own guests: all their tests are one piece of work, begun before the others.
ONE_PIECE = ("lab", "kernel")
NICE = 10


class ByKind(LoadScopeScheduling):
    """Pieces of work: each of ONE_PIECE as a whole, of the other kinds a file at a time."""

    def __init__(self, config, log=None):
        super().__init__(config, log)
        # The order in which they were collected, but for _assign_work_unit's first choice.
        config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        kind = nodeid.split("/")[1]
        return kind if kind in ONE_PIECE else nodeid.split("::", 1)[0]

    def _assign_work_unit(self, node) -> None:
        if ONE_PIECE[0] in self.workqueue:
            self.workqueue.move_to_end(ONE_PIECE[0], last=False)
        super()._assign_work_unit(node)


def give_way(item) -> None:
    """Beside a lab everything else has lower priority: calls in it are heard in real time."""
    is_worker = hasattr(item.config, "workerinput")
    is_beside = any(other.nodeid.startswith("tests/lab/") for other in item.session.items)
    if is_worker and is_beside and not item.nodeid.startswith("tests/lab/") and not os.nice(0):
        os.nice(NICE)
