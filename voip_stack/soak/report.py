"""What a soak saw, what was promised, and the table for people."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

from voip_stack.soak.calls import ALWAYS_UP, FailedCall, Load
from voip_stack.soak.handshakes import Failure, Seen

SHOWN = 5
# Of the renewals that the life alone asks for: 8 in 30 minutes of certificates of 3 minutes' life.
RENEWALS_PART = 0.8


@dataclass(frozen=True)
class Certificate:
    """What its listeners showed.

    renewed: by the listener that showed the fewest. needed: the fewest promised. left_s: the least
    life that was left when a new one was shown, None when none was. caught_up_s: from the unsealing
    to a new one, None when none came or nothing was sealed.
    """

    host: str
    name: str
    listeners: int
    renewed: int
    needed: int
    left_s: float | None
    caught_up_s: float | None = None


@dataclass
class Calls:
    """lowest: the fewest at a time. looks: how often both ways of a call's audio were looked at."""

    lowest: int = 0
    made: int = 0
    looks: int = 0
    registrations: int = 0
    failures: list[FailedCall] = field(default_factory=list)

    @classmethod
    def of(cls, load: Load) -> Calls:
        """What a load has seen so far."""
        return cls(
            load.lowest or 0, load.made, load.looks, load.registrations, list(load.failures)
        )  # fmt: skip

    @property
    def broken(self) -> list[str]:
        """The promises that were not kept."""
        found = []
        if self.failures:
            found.append(f"{len(self.failures)} calls failed")
        if self.lowest < ALWAYS_UP:
            found.append(f"only {self.lowest} calls were up at a time, {ALWAYS_UP} promised")
        return found

    @property
    def line(self) -> str:
        """For people."""
        return (
            f"calls: {len(self.failures)} failed; {self.lowest} up at the fewest, {self.made} ended"
            f" and replaced, {self.looks} looks at their audio, {self.registrations} registrations"
        )


@dataclass
class Watched:
    listeners: int = 0
    done: int = 0
    failed: int = 0
    failures: list[Failure] = field(default_factory=list)


@dataclass
class Sealed:
    """for_s: how long. calls_made: ended in that time and replaced. until_the_end: by nobody else
    unsealed."""

    for_s: float
    calls_made: int
    until_the_end: bool


@dataclass
class Report:
    """kind: `certificates` or `sealed`. began: ISO 8601. life_s: of each certificate.
    is_interrupted: by Ctrl-C, before its time."""

    kind: str
    minutes: float
    began: str
    life_s: int
    certificates: list[Certificate] = field(default_factory=list)
    calls: Calls = field(default_factory=Calls)
    handshakes: Watched = field(default_factory=Watched)
    daemons: int = 0
    restarted: list[str] = field(default_factory=list)
    sealed: Sealed | None = None
    is_interrupted: bool = False

    @property
    def broken(self) -> list[str]:
        """The promises that were not kept, [] when all were."""
        found = ["ended before its time by Ctrl-C"] if self.is_interrupted else []
        found += self.calls.broken
        if self.handshakes.failed or not self.handshakes.done:
            found.append(f"{self.handshakes.failed} of {self.handshakes.done} handshakes failed")
        found += [f"started anew: {what}" for what in self.restarted]
        for item in self.certificates:
            if item.renewed < item.needed:
                found.append(
                    f"{item.host} {item.name}: renewed {item.renewed} times, {item.needed} promised"
                )
        if not self.certificates:
            found.append("no certificate was seen")
        return found + self._broken_of_the_seal()

    def _broken_of_the_seal(self) -> list[str]:
        if self.sealed is None:
            return []
        found = []
        if not self.sealed.calls_made:
            found.append("no new call was made while the Vault was sealed")
        if not self.sealed.until_the_end:
            found.append("the Vault did not stay sealed: somebody unsealed it")
        found += [
            f"{item.host} {item.name}: not renewed after the unsealing"
            for item in self.certificates
            if item.caught_up_s is None
        ]
        return found

    def as_dict(self) -> dict[str, Any]:
        return {
            "soak": self.kind,
            "ok": not self.broken,
            "broken": self.broken,
            "minutes": self.minutes,
            "began": self.began,
            "life_s": self.life_s,
            "certificates": [asdict(item) for item in self.certificates],
            "calls": asdict(self.calls) | {"failed": len(self.calls.failures)},
            "handshakes": asdict(self.handshakes),
            "daemons": {"watched": self.daemons, "restarted": self.restarted},
            "sealed": None if self.sealed is None else asdict(self.sealed),
        }


def certificates(
    seen: dict[tuple[str, str], dict[str, list[Seen]]],
    expected: Sequence[tuple[str, str]],
    needed: int,
    unsealed: float | None = None,
) -> list[Certificate]:
    """One line for each certificate that should have been seen.

    seen: see Handshakes.seen. unsealed: epoch, where the Vault was sealed before.
    """
    return [
        _certificate(host, name, list(seen.get((host, name), {}).values()), needed, unsealed)
        for host, name in expected
    ]


def _certificate(
    host: str, name: str, shown: list[list[Seen]], needed: int, unsealed: float | None
) -> Certificate:
    left = [before.until - after.at for every in shown for before, after in pairwise(every)]
    caught_up = None
    if unsealed is not None and shown:
        firsts = [min((s.at for s in every if s.at > unsealed), default=None) for every in shown]
        known = [first for first in firsts if first is not None]
        caught_up = round(max(known) - unsealed, 1) if len(known) == len(firsts) else None
    return Certificate(
        host,
        name,
        len(shown),
        min((len(every) - 1 for every in shown), default=0),
        needed,
        round(min(left), 1) if left else None,
        caught_up,
    )


def needed(minutes: float, life_s: float) -> int:
    """How often each certificate has to be renewed in that time."""
    return int(RENEWALS_PART * minutes * 60 / life_s)


def table(report: Report) -> str:
    """The report for people."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=100, file=io.StringIO(), highlight=False)
    grid = Table(
        title=f"soak {report.kind}, {report.minutes:g} min, certificates of {report.life_s} s",
        title_justify="left",
    )
    for heading in ("certificate", "listeners", "renewed", "promised", "least life left"):
        grid.add_column(heading, justify="left" if heading == "certificate" else "right")
    if report.sealed:
        grid.add_column("caught up after", justify="right")
    for item in report.certificates:
        cells = [
            f"{item.host} {item.name}",
            str(item.listeners),
            str(item.renewed),
            f"≥ {item.needed}",
            _seconds(item.left_s),
        ]
        grid.add_row(*cells, *([_seconds(item.caught_up_s)] if report.sealed else []))
    console.print(grid)
    for line in _lines(report):
        console.print(line, markup=False, soft_wrap=True)
    return console.file.getvalue().rstrip()  # type: ignore[attr-defined]


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"


def _lines(report: Report) -> list[str]:
    watched = report.handshakes
    lines = [
        report.calls.line,
        f"handshakes: {watched.failed} failed of {watched.done + watched.failed}, "
        f"{watched.listeners} listeners",
        f"daemons: {len(report.restarted)} of {report.daemons} started anew",
    ]
    if report.sealed:
        lines.append(
            f"Vault: sealed for {report.sealed.for_s:.0f} s, {report.sealed.calls_made} calls "
            "ended and replaced meanwhile"
        )
    lines += [f"  {failed}" for failed in report.calls.failures[:SHOWN]]
    reasons = Counter(str(failed) for failed in watched.failures)
    lines += [f"  {failed} ({count} times)" for failed, count in reasons.most_common(SHOWN)]
    lines += [f"✘ {what}" for what in report.broken] or ["✔ every promise was kept"]
    return lines
