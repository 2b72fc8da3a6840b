"""The shape of every bench's result, and its table for people."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Result:
    """One number. goal: the most it may be (with at_least: the least; None: it only explains).

    met: None without a goal.
    """

    name: str
    value: float
    unit: str
    goal: float | None = None
    at_least: bool = False

    @property
    def met(self) -> bool | None:
        if self.goal is None:
            return None
        return self.value >= self.goal if self.at_least else self.value <= self.goal

    def as_dict(self) -> dict[str, Any]:
        return {"name": self.name, "value": self.value, "unit": self.unit, "goal": self.goal,
                "met": self.met}  # fmt: skip


@dataclass(frozen=True)
class Report:
    bench: str
    rounds: int
    results: list[Result]

    @property
    def is_met(self) -> bool:
        return all(result.met is not False for result in self.results)

    def as_dict(self) -> dict[str, Any]:
        results = [result.as_dict() for result in self.results]
        return {"bench": self.bench, "rounds": self.rounds, "results": results}


def table(report: Report) -> str:
    """The report for people."""
    from rich.console import Console
    from rich.table import Table

    rounds = "1 round" if report.rounds == 1 else f"{report.rounds} rounds"
    grid = Table(title=f"bench {report.bench}, {rounds}", title_justify="left")
    for heading, side in (("what", "left"), ("value", "right"), ("goal", "right"), ("", "left")):
        grid.add_column(heading, justify=side)  # type: ignore[arg-type]
    marks = {None: "", True: "met", False: "missed"}
    for result in report.results:
        least = "≥ " if result.at_least else ""
        goal = "" if result.goal is None else f"{least}{result.goal:g} {result.unit}"
        grid.add_row(result.name, f"{result.value:.2f} {result.unit}", goal, marks[result.met])
    console = Console(width=100, file=io.StringIO())
    console.print(grid)
    return console.file.getvalue().rstrip()  # type: ignore[attr-defined]
