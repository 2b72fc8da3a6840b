"""What is wrong with a pillar: every problem with its file, line, key and what was expected."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PillarProblem:
    """One refused value. file: path relative to the pillar directory; line: 1-based, 0 unknown."""

    file: str
    line: int
    key: str
    expected: str
    found: str = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        found = f" (found: {self.found})" if self.found else ""
        key = f" {self.key}:" if self.key else ""
        return f"pillar/{where}:{key} {self.expected}{found}"


class PillarError(Exception):
    """The pillar was refused. `problems` has all of them, not only the first."""

    def __init__(self, problems: list[PillarProblem]):
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))
