"""`./voip test`: choose the tests, have what machines they need, run pytest once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

from voip_stack import paths
from voip_stack.problem import Problem

KINDS = ("unit", "render", "functional", "integration", "kernel", "lab")
# What `./voip test` runs. The kernel's machine is emulated, and on a busy host too slow: it is
# asked for by name, or with `all`.
DEFAULT = tuple(kind for kind in KINDS if kind != "kernel")
# They need root and guests: a lab, and a machine under qemu.
WITH_GUESTS = ("kernel", "lab")
# pytest's exit code when it collected nothing.
NO_TESTS = 5


@dataclass(frozen=True)
class Selection:
    """kinds: folders of tests/; is_lab_declined: --no-lab (neither of WITH_GUESTS) was said; rest:
    pytest's arguments.
    """

    kinds: tuple[str, ...]
    is_lab_declined: bool
    rest: tuple[str, ...]


def select(arguments: list[str]) -> Selection:
    """Read `[KIND] [--no-lab] [--] [pytest's arguments]`."""
    words = list(arguments)
    is_declined = "--no-lab" in words
    words = [word for word in words if word != "--no-lab"]
    kinds: tuple[str, ...] = DEFAULT
    if words and words[0] in (*KINDS, "all"):
        kind = words.pop(0)
        kinds = KINDS if kind == "all" else (kind,)
    elif words and words[0].isalpha() and not (paths.checkout() / words[0]).exists():
        raise Problem(
            f"There is no kind of test {words[0]}", "", f"one of {', '.join(KINDS)}, all", 2
        )
    if words and words[0] == "--":
        words.pop(0)
    if is_declined:
        kinds = tuple(kind for kind in kinds if kind not in WITH_GUESTS)
    return Selection(kinds, is_declined, tuple(words))


def run(
    arguments: list[str],
    bring_up: Callable[[], None] | None = None,
    equip: Callable[[], None] | None = None,
) -> int:
    """Run the selected tests. Returns the exit code: pytest's, 1 when guests could not be had."""
    selection = select(arguments)
    kinds, reason = selection.kinds, ""
    for kind, prepare in (("kernel", equip or _qemu), ("lab", bring_up or _lab)):
        if kind not in kinds:
            continue
        try:
            prepare()
        except Problem as problem:
            reason = str(problem)
            kinds = tuple(other for other in kinds if other != kind)
            _say(
                f"The {kind} tests do not run, which counts as a failure (--no-lab declines them):"
                f"\n{reason}"
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


def _qemu() -> None:
    """The kernel tests' machine: packages that the host lacks for it are installed."""
    from voip_stack.steps import Steps
    from voip_stack.up import machine
    from voip_stack.up.run import install
    from voip_stack.vm.image import PACKAGES

    found = machine.look(PACKAGES)
    plan = machine.plan(found)
    if plan.problem:
        raise plan.problem
    if not found.is_root:
        raise Problem("The kernel tests make a machine's disk, which needs root", "", "sudo")
    if plan.install:
        with Steps("test") as steps:
            install(steps, plan.install, yes=True)


def _say(text: str) -> None:
    print(f"voip: {text}", file=sys.stderr, flush=True)
