"""`./voip test`: choose the tests, look whether this machine can hold them, run pytest once.

The lab's tests run in one process, which brings the lab up first (tests/lab/conftest.py), all other
kinds in a second one beside it, in the order of KINDS (tests/beside.py).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from voip_stack import paths
from voip_stack.problem import Problem

KINDS = ("unit", "render", "functional", "integration", "kernel", "lab")
# They need root and guests: a lab, and a machine under qemu.
WITH_GUESTS = ("kernel", "lab")
WORKERS = 2


@dataclass(frozen=True)
class Selection:
    """kinds: folders of tests/; is_lab_declined: --no-lab (neither of WITH_GUESTS) was said; rest:
    pytest's arguments.
    """

    kinds: tuple[str, ...]
    is_lab_declined: bool
    rest: tuple[str, ...]

    @property
    def named(self) -> tuple[str, ...]:
        """Paths and node ids among pytest's arguments: they stand for themselves."""
        return tuple(word for word in self.rest if word.startswith("tests/"))


def select(arguments: list[str]) -> Selection:
    """Read `[KIND...] [--no-lab] [--] [pytest's arguments]`."""
    words = list(arguments)
    is_declined = "--no-lab" in words
    words = [word for word in words if word != "--no-lab"]
    asked = []
    while words and words[0] in KINDS:
        asked.append(words.pop(0))
    if words and words[0].isalpha() and not (paths.checkout() / words[0]).exists():
        raise Problem(f"There is no kind of test {words[0]}", "", f"one of {', '.join(KINDS)}", 2)
    kinds = tuple(kind for kind in KINDS if kind in asked) or KINDS
    if words and words[0] == "--":
        words.pop(0)
    if is_declined:
        kinds = tuple(kind for kind in kinds if kind not in WITH_GUESTS)
    return Selection(kinds, is_declined, tuple(words))


def run(
    arguments: list[str],
    lab: Callable[[], None] | None = None,
    qemu: Callable[[], None] | None = None,
) -> int:
    """Run the selected tests. Returns the exit code: pytest's, 1 when guests could not be had.

    lab, qemu: raise Problem where this machine cannot hold those guests.
    """
    selection = select(arguments)
    kinds, reason = selection.kinds, ""
    for kind, look in (("kernel", qemu or _qemu), ("lab", lab or _lab)):
        if kind not in kinds:
            continue
        try:
            look()
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
    selection = replace(selection, kinds=kinds)
    with _prepared(selection):
        code = _pytest(selection)
    return code or (1 if reason else 0)


@contextmanager
def _prepared(selection: Selection) -> Iterator[None]:
    """Meanwhile another core makes the kernel tests' image, unless the cache has it.

    The tests that need it wait for it, and make it themselves where that has failed.
    """
    if "kernel" not in selection.kinds or len(selection.kinds) == 1 or selection.named:
        yield
        return
    argv = [sys.executable, "-P", "-m", "voip_stack.vm.prepare"]
    with subprocess.Popen(argv, cwd=paths.checkout()) as maker:
        try:
            yield
        finally:
            maker.terminate()


def _pytest(selection: Selection) -> int:
    tests = paths.checkout() / "tests"
    kinds = () if selection.named else selection.kinds
    folders = [str(tests / kind) for kind in kinds if _has_tests(kind)]
    # One kind with guests is one piece of work; of what is named the output is wanted as it comes.
    is_one_piece = len(kinds) < 2 and set(kinds) <= set(WITH_GUESTS)
    beside = [] if is_one_piece else ["-n", str(WORKERS)]
    command = [sys.executable, "-P", "-m", "pytest", *beside, *folders, *selection.rest]
    return subprocess.run(command, cwd=paths.checkout(), check=False).returncode


def _has_tests(kind: str) -> bool:
    return any((paths.checkout() / "tests" / kind).rglob("test_*.py"))


def _lab() -> None:
    """Whether this machine can hold a lab."""
    from voip_stack import providers
    from voip_stack.pillar import load
    from voip_stack.up.run import suits

    suits(providers.deployed(load(paths.pillar_dir())))


def bring_up() -> None:
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
    from voip_stack.up.run import install_missing
    from voip_stack.vm.image import PACKAGES

    if os.geteuid():
        raise Problem("The kernel tests make a machine's disk, which needs root", "", "sudo")
    install_missing(PACKAGES, yes=True)


def _say(text: str) -> None:
    print(f"voip: {text}", file=sys.stderr, flush=True)
