"""`./voip test`: choose the tests, have a lab for those that need one, run pytest once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

from voip_stack import paths
from voip_stack.problem import Problem

KINDS = ("unit", "render", "functional", "integration", "lab")
# Only when asked for by name: it boots kernels of its own and takes minutes.
BY_NAME = ("kernel",)
# pytest's exit code when it collected nothing.
NO_TESTS = 5


@dataclass(frozen=True)
class Selection:
    """kinds: folders of tests/; is_lab_declined: --no-lab was said; rest: pytest's arguments."""

    kinds: tuple[str, ...]
    is_lab_declined: bool
    rest: tuple[str, ...]


def select(arguments: list[str]) -> Selection:
    """Read `[KIND] [--no-lab] [--] [pytest's arguments]`."""
    words = list(arguments)
    is_declined = "--no-lab" in words
    words = [word for word in words if word != "--no-lab"]
    kinds: tuple[str, ...] = KINDS
    if words and words[0] in (*KINDS, *BY_NAME, "all"):
        kind = words.pop(0)
        kinds = KINDS if kind == "all" else (kind,)
    elif words and words[0].isalpha() and not (paths.checkout() / words[0]).exists():
        known = ", ".join((*KINDS, *BY_NAME, "all"))
        raise Problem(f"There is no kind of test {words[0]}", "", f"one of {known}", 2)
    if words and words[0] == "--":
        words.pop(0)
    if is_declined:
        kinds = tuple(kind for kind in kinds if kind != "lab")
    return Selection(kinds, is_declined, tuple(words))


def run(arguments: list[str], bring_up: Callable[[], None] | None = None) -> int:
    """Run the selected tests. Returns the exit code: pytest's, 1 when a lab could not be had."""
    selection = select(arguments)
    kinds, reason = selection.kinds, ""
    if "lab" in kinds:
        try:
            (bring_up or _lab)()
        except Problem as problem:
            reason = str(problem)
            kinds = tuple(kind for kind in kinds if kind != "lab")
            _say(
                "The lab tests do not run, which counts as a failure (--no-lab declines them):\n"
                f"{reason}"
            )
    if not kinds:
        _say("Nothing is left to run.")
        return 1
    code = _pytest(kinds, selection.rest)
    return code or (1 if reason else 0)


def _pytest(kinds: tuple[str, ...], rest: tuple[str, ...]) -> int:
    tests = paths.checkout() / "tests"
    # A path or node id among pytest's arguments stands for itself.
    named = [word for word in rest if word.startswith("tests/")]
    folders = [] if named else [str(tests / kind) for kind in kinds if _has_tests(kind)]
    command = [sys.executable, "-P", "-m", "pytest", *folders, *rest]
    return subprocess.run(command, cwd=paths.checkout(), check=False).returncode


def _has_tests(kind: str) -> bool:
    return any((paths.checkout() / "tests" / kind).rglob("test_*.py"))


def _lab() -> None:
    """A converged lab: nothing to do when every guest runs and answers."""
    from voip_stack.health import is_up
    from voip_stack.up.run import run as up

    if is_up():
        return
    _say("The lab is down: ./voip up first.")
    summary = up(None, yes=True)
    if not summary.is_ok:
        raise Problem(
            "The lab did not converge", str(summary.log), "./voip up, then mend what it names"
        )


def _say(text: str) -> None:
    print(f"voip: {text}", file=sys.stderr, flush=True)
