"""Security events: what only an attacker or a broken machine would send."""

from __future__ import annotations

import logging
import threading
import time

from voip_stack.events import bus, record

log = logging.getLogger(__name__)
RECORD = "security"
# A machine that sends forgeries without end is told once, with how many more there were.
MOST_PER_MINUTE = 60

_lock = threading.Lock()
_minute: dict[tuple[str, str], list[float]] = {}  # (kind, host) -> [start, count]


def report(kind: str, host: str, detail: str) -> None:
    """Record a security event and tell the bus as voip/security/<kind>. No secret in `detail`.

    host: whom the event claims to be from or about; nothing proves that.
    """
    count = _counted(kind, host)
    if count > MOST_PER_MINUTE:
        return
    if count == MOST_PER_MINUTE:
        detail += "; more of these within this minute are not recorded"
    entry = record.append(RECORD, {"kind": kind, "host": host[:64], "detail": detail[:500]})
    log.error("Security event %s, host %r: %s", kind, host[:64], detail)
    bus.fire(f"voip/security/{kind}", entry)


def not_its_own(kind: str, host: str, what: str) -> None:
    """Report that `host`, which has proved itself, speaks of what pillar does not give it.

    kind: of its event. what: in our words, not the event's.
    """
    report("event/not-its-own", host, f"{kind}: {what}")


def _counted(kind: str, host: str) -> int:
    now = time.monotonic()
    with _lock:
        if len(_minute) > 1000:  # names are the attacker's to invent
            _minute.clear()
        start, count = _minute.get((kind, host), [now, 0])
        if now - start > 60:
            start, count = now, 0
        _minute[kind, host] = [start, count + 1]
    return int(count + 1)
