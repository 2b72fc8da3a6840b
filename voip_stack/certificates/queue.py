"""Renewals that wait for their turn, outside the reactor's own threads.

The reactor has ten threads for every event. Many certificates that are due together, or a Vault
that does not answer, would hold all of them: a service that is down would not be repaired. Threads
of our own, few, and not all of them for one host.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

WORKERS = 4
PER_HOST = 2
# (host, name): what there is one of at a time.
Key = tuple[str, str]


class Queue:
    """work(host, name, order) does one; it must not raise. Threads begin with the first order."""

    def __init__(
        self,
        work: Callable[[str, str, Any], None],
        workers: int = WORKERS,
        per_host: int = PER_HOST,
    ):
        self._work, self._workers, self._per_host = work, workers, per_host
        self._waiting: dict[Key, Any] = {}  # in order of arrival
        self._busy: set[Key] = set()
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []

    def put(self, host: str, name: str, order: Any) -> bool:
        """Returns False for what is waiting or at work already: its event came twice."""
        with self._changed:
            if (host, name) in self._waiting or (host, name) in self._busy:
                return False
            self._waiting[host, name] = order
            self._start()
            self._changed.notify()
            return True

    def _start(self) -> None:
        # Daemons: a master that is told to stop does not wait for a Vault that hangs.
        while len(self._threads) < self._workers:
            thread = threading.Thread(target=self._serve, name="renewals", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._next() is not None)
                key = self._next()
                assert key is not None  # noqa: S101 - for the type checker
                order = self._waiting.pop(key)
                self._busy.add(key)
            try:
                self._work(*key, order)
            finally:
                with self._changed:
                    self._busy.discard(key)
                    self._changed.notify_all()

    def _next(self) -> Key | None:
        """The first that waits and whose host has not its share of workers already."""
        busy = Counter(host for host, _ in self._busy)
        return next((key for key in self._waiting if busy[key[0]] < self._per_host), None)
