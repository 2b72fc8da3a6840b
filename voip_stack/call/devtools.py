"""Chromium's DevTools protocol over two pipes: no port that somebody else could open.

Messages are JSON, each ended by a zero byte. Chromium ends when the pipes close, so a browser never
outlives whoever started it.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable
from typing import Any

from voip_stack.call.failure import CallError

ANSWER_DEADLINE_S = 15.0
CHUNK = 65536


class DevTools:
    """One connection. on_event(method, params, session) and on_end() run in a thread of its own."""

    def __init__(
        self,
        orders: int,
        answers: int,
        on_event: Callable[[str, dict[str, Any], str], None],
        on_end: Callable[[], None],
    ):
        """orders, answers: file descriptors to write to and to read from; they are closed here."""
        self._orders = os.fdopen(orders, "wb", buffering=0)
        self._answers = answers
        self._on_event = on_event
        self._on_end = on_end
        self._changed = threading.Condition()
        self._results: dict[int, dict[str, Any]] = {}
        self._next = 0
        self._ended = False
        threading.Thread(target=self._read, daemon=True).start()

    def ask(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Give one order, return its result. Raises CallError when the browser refuses or ends."""
        with self._changed:
            self._next += 1
            number = self._next
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        with contextlib.suppress(OSError, ValueError):
            self._orders.write(json.dumps(message).encode() + b"\0")
        with self._changed:
            self._changed.wait_for(
                lambda: number in self._results or self._ended, ANSWER_DEADLINE_S
            )
            answer = self._results.pop(number, None)
        if answer is None:
            raise CallError("", f"the browser does not answer {method}")
        if "error" in answer:
            # Its message only: an order's parameters may hold a password.
            raise CallError("", f"the browser refuses {method}: {answer['error'].get('message')}")
        return answer.get("result", {})

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._orders.close()

    def _read(self) -> None:
        rest = b""
        with os.fdopen(self._answers, "rb", buffering=0) as source:
            while data := source.read(CHUNK):
                *messages, rest = (rest + data).split(b"\0")
                for message in messages:
                    self._take(json.loads(message))
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._on_end()

    def _take(self, message: dict[str, Any]) -> None:
        if "id" in message:
            with self._changed:
                self._results[message["id"]] = message
                self._changed.notify_all()
        else:
            session = message.get("sessionId", "")
            self._on_event(message["method"], message.get("params", {}), session)
