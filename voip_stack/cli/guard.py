"""What every command shares: foreseen failures become messages and exit codes."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import typer

from voip_stack.problem import Problem

EXIT_FAILED = 1
EXIT_MACHINE = 3
EXIT_PILLAR = 4
EXIT_INTERRUPTED = 130


def guarded(command: Callable[..., Any]) -> Callable[..., Any]:
    """`command` with Problems, refused pillars and Ctrl-C reported; VOIP_DEBUG lets them pass."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except Problem as problem:
            _unless_debugging()
            typer.echo(f"voip: {problem}", err=True)
            raise typer.Exit(problem.code) from None
        except KeyboardInterrupt:
            _unless_debugging()
            typer.echo(
                "voip: interrupted. What was finished is kept; run the same command to go on.",
                err=True,
            )
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except BrokenPipeError:
            # `./voip logs sip-1 | head`: nobody reads any more.
            os._exit(EXIT_FAILED)
        except Exception as error:
            if type(error).__name__ != "PillarError":
                raise
            _unless_debugging()
            typer.echo(f"voip: the pillar was refused; no host was touched\n{error}", err=True)
            raise typer.Exit(EXIT_PILLAR) from None

    return run


def _unless_debugging() -> None:
    if os.environ.get("VOIP_DEBUG"):
        raise
