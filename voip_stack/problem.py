"""The one exception for what a user can do something about."""

from __future__ import annotations

from pathlib import Path


class Problem(Exception):
    """Something failed in a foreseen way: what, where, and what to do about it.

    The command line prints it without a traceback (VOIP_DEBUG=1 shows one) and ends with `code`.
    """

    def __init__(self, what: str, where: str = "", how: str = "", code: int = 1):
        self.what, self.where, self.how, self.code = what, where, how, code
        self.log: Path | None = None  # the full log, when a step failed
        super().__init__(what)

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.how:
            lines.append(f"  to do: {self.how}")
        if self.log:
            lines.append(f"  log:   {self.log}")
        return "\n".join(lines)
