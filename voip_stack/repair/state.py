"""What remediation remembers between events: maintenance, degraded services, the latest repairs.

One JSON file (events/memory.py): the master's threads and the command line both write it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from voip_stack import paths
from voip_stack.events import memory

T = TypeVar("T")
# More than any window of pillar/repair.yaml needs.
KEPT_REPAIRS = 100


def file() -> Path:
    return paths.state_dir() / "repair.json"


def read() -> dict[str, Any]:
    """{maintenance: {host: {until, reason, since}}, degraded: {host/service: {why, since}},
    repairs: {host/service: [[epoch, helped], ...]}, told: {host/service: why}}."""
    return _nothing() | memory.read(file())


def _nothing() -> dict[str, Any]:
    return {"maintenance": {}, "degraded": {}, "repairs": {}, "told": {}}


def _change(how: Callable[[dict[str, Any]], T]) -> T:
    with memory.changing(file()) as known:
        for name, empty in _nothing().items():
            known.setdefault(name, empty)
        return how(known)


def key(host: str, service: str) -> str:
    return f"{host}/{service}"


# ---------------------------------------------------------------- maintenance
def maintain(host: str, for_s: float, reason: str) -> dict[str, Any]:
    """Leave `host` alone for so long. Returns the entry."""
    now = time.time()
    entry = {"until": now + for_s, "since": now, "reason": reason}
    _change(lambda known: known["maintenance"].update({host: entry}))
    return entry


def end_maintenance(host: str) -> bool:
    """Returns whether there was one."""
    return _change(lambda known: known["maintenance"].pop(host, None)) is not None


def maintenance() -> dict[str, dict[str, Any]]:
    """{host: {until, since, reason}} of what is not over yet."""
    now = time.time()
    return {host: item for host, item in read()["maintenance"].items() if item["until"] > now}


# ---------------------------------------------------------------- degraded services
def degrade(host: str, service: str, why: str) -> bool:
    """Mark a service as given up. Returns False when it was already."""

    def mark(known: dict[str, Any]) -> bool:
        is_new = key(host, service) not in known["degraded"]
        known["degraded"].setdefault(key(host, service), {"why": why, "since": time.time()})
        return is_new

    return _change(mark)


def restore(host: str, service: str) -> bool:
    """Take the mark away, and forget the repairs that led to it. Returns whether it was there."""

    def unmark(known: dict[str, Any]) -> bool:
        was = known["degraded"].pop(key(host, service), None) is not None
        if was:
            known["repairs"].pop(key(host, service), None)
        return was

    return _change(unmark)


def degraded() -> dict[str, dict[str, Any]]:
    """{host/service: {why, since}}."""
    return read()["degraded"]


def forget(host: str, service: str) -> bool:
    """An operator's word: it is not degraded, and was never repaired. Returns whether it was."""
    was = restore(host, service)
    _change(lambda known: known["repairs"].pop(key(host, service), None))
    return was


# ---------------------------------------------------------------- what was told
def tell(host: str, service: str, why: str) -> bool:
    """Returns whether this is news: the same reason is told once, until the service is back."""

    def note(known: dict[str, Any]) -> bool:
        is_new = known["told"].get(key(host, service)) != why
        known["told"][key(host, service)] = why
        return is_new

    return _change(note)


def untell(host: str, service: str) -> None:
    _change(lambda known: known["told"].pop(key(host, service), None))


def is_remembered(host: str, service: str) -> bool:
    """Whether the service was given up or left alone."""
    known = read()
    return key(host, service) in known["degraded"] or key(host, service) in known["told"]


# ---------------------------------------------------------------- repairs
def repaired(host: str, service: str, helped: bool) -> None:
    """Count a repair that has just ended."""

    def add(known: dict[str, Any]) -> None:
        repairs = known["repairs"].setdefault(key(host, service), [])
        repairs.append([time.time(), helped])
        del repairs[:-KEPT_REPAIRS]

    _change(add)


def repairs(host: str, service: str) -> list[tuple[float, bool]]:
    return [(item[0], item[1]) for item in read()["repairs"].get(key(host, service), [])]
