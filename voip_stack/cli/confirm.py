"""Ask before something that cannot be undone; without a terminal the command line decides."""

from __future__ import annotations

import sys

import typer

from voip_stack.problem import Problem


def confirm(question: str, yes: bool) -> None:
    """Return when the user agrees. Problem when not, or when nobody can be asked."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Problem(f"{question} Nobody can be asked here", "", "add --yes")
    if not typer.confirm(question, default=False, err=True):
        raise Problem("Not done: you said no")
