"""What `up` shows at its end: each host's states, what is unavailable, how long it took."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from voip_stack.master.results import HostResult, slowest
from voip_stack.steps import elapsed

SLOWEST = 15


@dataclass
class Summary:
    """One run of `up`. timings: (step, seconds) in order."""

    provider: str
    hosts: dict[str, HostResult] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    timings: list[tuple[str, float]] = field(default_factory=list)
    total_s: float = 0.0
    log: Path | None = None

    @property
    def is_ok(self) -> bool:
        return not any(result.failures for result in self.hosts.values())

    @property
    def changed(self) -> int:
        return sum(len(result.changed) for result in self.hosts.values())

    def as_dict(self) -> dict[str, Any]:
        return {
            "provider": self.provider,
            "ok": self.is_ok,
            "total_s": round(self.total_s, 2),
            "changed": self.changed,
            "hosts": {
                name: {
                    "states": result.states,
                    "changed": result.changed,
                    "failed": [failure.state_id for failure in result.failures],
                    "states_s": round(result.total_s, 2),
                }
                for name, result in self.hosts.items()
            },
            "unavailable": self.unavailable,
            "notes": self.notes,
            "steps": [{"name": name, "seconds": round(took, 2)} for name, took in self.timings],
            "slowest_states": [
                {"host": host, "state": state, "seconds": round(seconds, 2)}
                for host, state, seconds in slowest(list(self.hosts.values()), SLOWEST)
            ],
            "log": str(self.log),
        }


def print_summary(summary: Summary) -> None:
    """The summary for people, on standard output."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    grid = Table(box=None, pad_edge=False)
    for heading in ("host", "states", "changed", "failed", "states took"):
        grid.add_column(heading, justify="left" if heading == "host" else "right")
    for name, result in summary.hosts.items():
        numbers = (result.states, len(result.changed), len(result.failures))
        grid.add_row(name, *map(str, numbers), elapsed(result.total_s))
    console.print(grid)
    for note in summary.notes:
        console.print(f"note: {note}", markup=False)
    for component, why in summary.unavailable.items():
        console.print(f"unavailable: {component}: {why}", markup=False)
    changed = f"{summary.changed} changed" if summary.changed else "nothing changed"
    console.print(f"up on {summary.provider}: {changed}, {elapsed(summary.total_s)}")
