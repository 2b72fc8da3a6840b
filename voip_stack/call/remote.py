"""The host's end of agent.py: start it where the call starts, give orders, wait for events.

Waiting is always for something and always has a deadline: nothing here sleeps.
"""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from voip_stack.call.failure import CallError

AGENT = Path(__file__).with_name("agent.py")
# Read a length and that many bytes of source from standard input, then run them: the rest of
# standard input is for the orders. Neither source nor order ever is an argument.
BOOTSTRAP = (
    "import os,sys\n"
    # The end of the input before the source has come: whoever wanted it has gone.
    "read=lambda size: os.read(0,size) or sys.exit(1)\n"
    "n=b''\n"
    "while not n.endswith(b'\\n'): n+=read(1)\n"
    "left=int(n); s=b''\n"
    "while len(s)<left: s+=read(left-len(s))\n"
    "exec(compile(s,'agent.py','exec'),{'__name__':'__main__'})"
)
START_DEADLINE_S = 10.0
ORDER_DEADLINE_S = 8.0
CLOSE_DEADLINE_S = 6.0


def remote_argv() -> list[str]:
    """What has to run where the call starts."""
    return ["python3", "-u", "-c", BOOTSTRAP]


@dataclass
class Event:
    """Something a user agent told: `kind` is baresip's event type, LOG, or ENDED (the process)."""

    ua: str
    kind: str
    time_s: float
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return str(self.data.get("param", ""))


class Remote:
    """A running agent.

    argv: the whole command that runs `remote_argv()` at the outside, the provider's way.
    """

    def __init__(self, argv: Sequence[str]):
        self.argv = list(argv)
        self.events: list[Event] = []
        self._answers: dict[int, dict[str, Any]] = {}
        self._changed = threading.Condition()
        self._ready: dict[str, Any] | None = None
        self._ended = False
        self._next = 0
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> Remote:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        # Its own session: Ctrl-C reaches this process only, which then ends the agent in order.
        self._process = subprocess.Popen(
            self.argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        threading.Thread(target=self._read, daemon=True).start()
        source = AGENT.read_bytes()
        self._write(b"%d\n" % len(source) + source)
        with self._changed:
            done = lambda: self._ready is not None or self._ended  # noqa: E731
            self._changed.wait_for(done, START_DEADLINE_S)
        if self._ready is None:
            error = CallError("", f"the call agent did not start: {self._stderr()}")
            self.close()
            raise error

    def open(
        self,
        ua: str,
        config: str,
        files: dict[str, str],
        names: dict[str, str],
        ipv6: bool = False,
    ) -> int:
        """Start a user agent; the pid of its baresip.

        files: what its directory holds beside the configuration; names: what its DNS knows.
        """
        answer = self.order("open", ua, config=config, files=files, names=names, ipv6=ipv6)
        return int(answer["pid"])

    def command(self, ua: str, command: str, params: str | None = None, quiet: bool = False) -> str:
        """Give baresip a command; what it printed."""
        answer = self.order("command", ua, command=command, params=params, quiet=quiet)
        return str(answer.get("data", ""))

    def sockets(self, ua: str) -> list[dict[str, str]]:
        return self.order("sockets", ua)["sockets"]

    def read(self, ua: str, name: str) -> bytes:
        return base64.b64decode(self.order("read", ua, name=name)["data"])

    def latest(self, ua: str, name: str, size: int) -> bytes:
        """The end of a growing file: at most `size` bytes, none that was had before."""
        return base64.b64decode(self.order("latest", ua, name=name, bytes=size)["data"])

    def order(self, op: str, ua: str, **arguments: Any) -> dict[str, Any]:
        """Give an order and wait for its answer. Raises CallError when it failed."""
        with self._changed:
            self._next += 1
            number = self._next
        order = {"id": number, "op": op, "ua": ua} | arguments
        self._write(json.dumps(order).encode() + b"\n")
        with self._changed:
            self._changed.wait_for(lambda: number in self._answers or self._ended, ORDER_DEADLINE_S)
            answer = self._answers.pop(number, None)
        if answer is None:
            what = f"no answer to '{op}'" + (f": {self._stderr()}" if self._ended else "")
            raise CallError("", what, ua=ua)
        if not answer.get("ok"):
            raise CallError(
                "", f"{op}: " + str(answer.get("error") or answer.get("data") or "refused"), ua=ua
            )
        return answer

    def wait(
        self, wanted: Mapping[str, Sequence[str]], timeout_s: float, *, since: int = 0
    ) -> Event | None:
        """The first event after position `since` that is wanted; None at the deadline.

        wanted: event kinds by user agent: {"a": ["CALL_CLOSED"], "b": ["CALL_INCOMING"]}.
        """
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while True:
                for event in self.events[since:]:
                    if event.kind in wanted.get(event.ua, ()):
                        return event
                left = deadline - time.monotonic()
                if left <= 0 or self._ended:
                    return None
                self._changed.wait(left)

    def tell(self, ua: str, kind: str, data: dict[str, Any], ago_s: float = 0.0) -> None:
        """Add an event of a user agent that is none of the agent's, of so many seconds ago."""
        with self._changed:
            self.events.append(Event(ua, kind, time.monotonic() - ago_s, data))
            self._changed.notify_all()

    def seen(self, ua: str, kind: str) -> list[Event]:
        with self._changed:
            return [event for event in self.events if event.ua == ua and event.kind == kind]

    def position(self) -> int:
        with self._changed:
            return len(self.events)

    def close(self) -> None:
        """End the orders: the agent ends its user agents and removes what it made."""
        process = self._process
        if process is None:
            return
        with contextlib.suppress(OSError):
            if process.stdin is not None:
                process.stdin.close()
        try:
            process.wait(CLOSE_DEADLINE_S)
        except subprocess.TimeoutExpired:
            process.terminate()
            try:
                process.wait(CLOSE_DEADLINE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _write(self, data: bytes) -> None:
        if self._process is None or self._process.stdin is None:
            raise CallError("", "the call agent is not running")
        try:
            self._process.stdin.write(data)
            self._process.stdin.flush()
        except (OSError, ValueError):
            with self._changed:
                self._changed.wait_for(lambda: self._ended, CLOSE_DEADLINE_S)
            raise CallError("", f"the call agent ended: {self._stderr()}") from None

    def _stderr(self) -> str:
        process = self._process
        if process is None or process.stderr is None:
            return "no word from it"
        try:
            # Its output may be over a moment before it is.
            process.wait(CLOSE_DEADLINE_S if self._ended else 0)
        except subprocess.TimeoutExpired:
            return "no word from it"
        lines = process.stderr.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else f"exit status {process.returncode}"

    def _read(self) -> None:
        process = self._process
        if process is None or process.stdout is None:
            return
        for line in process.stdout:
            try:
                message = json.loads(line)
            except ValueError:
                continue
            with self._changed:
                self._take(message)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _take(self, message: dict[str, Any]) -> None:
        if "ready" in message:
            self._ready = message
        elif "id" in message:
            self._answers[message["id"]] = message
        elif "event" in message:
            data = message["event"]
            self._add(message, str(data.get("type", "")), data)
        elif "log" in message:
            self._add(message, "LOG", {"param": message["log"]})
        elif "exit" in message:
            self._add(message, "ENDED", {"param": str(message["exit"])})

    def _add(self, message: dict[str, Any], kind: str, data: dict[str, Any]) -> None:
        self.events.append(Event(message["ua"], kind, float(message["t"]), data))
