"""Verified calls, one after the other, while something else goes on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from typing import Any

from voip_stack.call.deployed import deployed
from voip_stack.call.plan import make_plan
from voip_stack.call.report import CallReport
from voip_stack.call.run import Options, run_call
from voip_stack.pillar import Pillar

CALL_S = 2.0
# For the last one to end.
END_S = 60.0
# The steps at which the user agents' audio is looked at. A machine that proxies, user agents and a
# load share may starve a user agent: such a call was set up, and its audio not measured.
MEASURED = ("collect the evidence", "verify the audio")


def numbers(pillar: Pillar) -> list[str]:
    """The two subscribers who call."""
    return [item.number for item in pillar.subscribers][:2]


@contextmanager
def calls(pillar: Pillar) -> Iterator[list[dict[str, Any]]]:
    """Calls are made while the block lasts: [{from, to, ok, step, reason}], whole at its end."""
    made: list[dict[str, Any]] = []
    stop = threading.Event()
    calling = threading.Thread(target=_make, args=(pillar, stop, made), daemon=True)
    calling.start()
    try:
        yield made
    finally:
        stop.set()
        calling.join(END_S)


def _make(pillar: Pillar, stop: threading.Event, made: list[dict[str, Any]]) -> None:
    first, second = numbers(pillar)
    for caller, callee in cycle([(first, second), (second, pillar.routing.echo_extension)]):
        platform, plan = deployed(make_plan(pillar, caller, callee))
        found = run_call(plan, platform, Options(duration_s=CALL_S))
        step, reason = ("", "") if found.ok else _failure(found)
        made.append({"from": caller, "to": callee, "ok": found.ok, "step": step, "reason": reason})
        if stop.is_set():
            return


def _failure(report: CallReport) -> tuple[str, str]:
    """The step that failed, and why."""
    if report.failure is None:
        return MEASURED[-1], "not every leg or tone is there"
    return report.failure.step, report.failure.reason
