"""From measured loads to the bench's results. Pure functions."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from voip_stack.bench.report import Result

OURS, STOCK = "voip-stack", "stock"
REGISTER, REPEAT, CALL, PACED, TOGETHER = (
    "registrations",
    "registrations, repeated",
    "calls",
    "calls at half the rate",
    "calls at once",
)
# What rates and CPU are told of.
ONE = {REGISTER: "registration", REPEAT: "repeated registration", CALL: "call"}
RATIO = 1.0
DELAY_MS = 200.0
# Of those that were begun: what a full queue may refuse or break off before the rate is none.
LOST = 0.01


@dataclass(frozen=True)
class Load:
    """One load. who: OURS or STOCK; way: TLS or UDP; what: REGISTER and its like above.

    rate: a second. done, failed: in all. open: most at once. cpu_ms: of each daemon and of the load
    tool, for one of `done`. delays_ms: post-dial delays. written: rows of registrations, until the
    load was over.
    """

    who: str
    way: str
    what: str
    round: int
    rate: float
    done: int
    failed: int
    open: int = 0
    cpu_ms: dict[str, float] = field(default_factory=dict)
    delays_ms: Sequence[float] = ()
    written: int = 0


def results(loads: Sequence[Load]) -> list[Result]:
    """Ratios first, then what they are made of, then CPU."""
    return [*_ratios(loads), *_rates(loads), *_delays(loads), *_together(loads), *_cpu(loads)]


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest of `values` that `share` of them do not exceed. Raises ValueError for none."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values")
    return ordered[min(len(ordered) - 1, max(0, -int(-len(ordered) * share // 1) - 1))]


def ratios(loads: Sequence[Load], what: str, way: str) -> list[float]:
    """The platform's rate by the stock configuration's, of each round that has both."""
    found = {
        who: {one.round: one.rate for one in _of(loads, who, what, way)} for who in (OURS, STOCK)
    }
    return [
        rate / found[STOCK][number]
        for number, rate in found[OURS].items()
        if found[STOCK].get(number)
    ]


def _of(loads: Iterable[Load], who: str, what: str, way: str) -> list[Load]:
    return [one for one in loads if (one.who, one.what, one.way) == (who, what, way)]


def _kinds(loads: Sequence[Load]) -> list[tuple[str, str]]:
    """(what, way), in the order in which they were first measured."""
    return list(dict.fromkeys((one.what, one.way) for one in loads))


def _ratios(loads: Sequence[Load]) -> list[Result]:
    found = []
    for what, way in _kinds(loads):
        each = ratios(loads, what, way)
        if what in ONE and each:
            # Over UDP the platform's is another kind of peer: a trunk, which is asked for nothing.
            goal = RATIO if way == "TLS" else None
            name = f"{what}, {way}: {OURS} : {STOCK}, median of rounds"
            found.append(Result(name, statistics.median(each), "", goal, at_least=True))
    return found


def _rates(loads: Sequence[Load]) -> list[Result]:
    found = []
    for what, way in _kinds(loads):
        for who in (OURS, STOCK):
            some = _of(loads, who, what, way)
            if what not in ONE or not some:
                continue
            name = f"{what}, {way}: {who}"
            rates = [one.rate for one in some]
            begun = sum(one.done + one.failed for one in some)
            lost = 100 * sum(one.failed for one in some) / max(1, begun)
            found += [
                Result(f"{name}, median", statistics.median(rates), "/s"),
                Result(f"{name}, slowest round", min(rates), "/s"),
                Result(f"{name}, failed", lost, "%", 100 * LOST if who == OURS else None),
            ]
            if what in (REGISTER, REPEAT):
                done = sum(one.done for one in some)
                share = 100 * sum(one.written for one in some) / max(1, done)
                found.append(Result(f"{name}, written when it ended", share, "%"))
    return found


def _delays(loads: Sequence[Load]) -> list[Result]:
    found = []
    for who in (OURS, STOCK):
        some = _of(loads, who, PACED, "TLS")
        delays = [ms for one in some for ms in one.delays_ms]
        if not delays:
            continue
        rate = statistics.median(one.rate for one in some)
        name = f"post-dial delay at {rate:.0f} calls/s, {who}"
        goal = DELAY_MS if who == OURS else None
        found += [
            Result(f"{name}, p50", quantile(delays, 0.5), "ms"),
            Result(f"{name}, p99", quantile(delays, 0.99), "ms", goal),
        ]
    return found


def _together(loads: Sequence[Load]) -> list[Result]:
    return [
        result
        for one in _of(loads, OURS, TOGETHER, "TLS")
        for result in (
            Result(f"{TOGETHER}, TLS: {OURS}", one.open, "calls"),
            Result(f"{TOGETHER}, TLS: {OURS}, failed", one.failed, "calls", 0),
        )
    ]


def _cpu(loads: Sequence[Load]) -> list[Result]:
    """Of each daemon, median of rounds."""
    found = []
    for what, way in _kinds(loads):
        for who in (OURS, STOCK):
            some = _of(loads, who, what, way)
            if what not in ONE:
                continue
            for name in dict.fromkeys(name for one in some for name in one.cpu_ms):
                spent = statistics.median(one.cpu_ms.get(name, 0.0) for one in some)
                if spent >= 0.005:
                    title = f"CPU of a {ONE[what]}, {way}, {who}: {name}"
                    found.append(Result(title, spent, "ms"))
    return found
