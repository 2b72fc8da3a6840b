"""`./voip call FROM TO`: a real encrypted call, measured and verified."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

    from voip_stack.call.plan import Plan
    from voip_stack.call.report import CallReport
    from voip_stack.call.run import Options, Platform

# An answer takes a tenth of it; a call must not wait for a minion that is being restarted.
ASK_DEADLINE_S = 6


def call(
    caller: Annotated[str, typer.Argument(metavar="FROM", help="The subscriber who calls.")],
    callee: Annotated[str, typer.Argument(metavar="TO", help="A number, or '*43' for the echo.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    duration: Annotated[
        float, typer.Option(help="Seconds of tone that are measured.", min=1, max=300)
    ] = 4.0,
    count: Annotated[int, typer.Option(help="So many calls in a row.", min=1, max=1000)] = 1,
    codec: Annotated[
        str | None, typer.Option(help="PCMA, PCMU or G722; else the pillar's first.")
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(help="Keep the recordings in this directory.")
    ] = None,
    wrong_password: Annotated[
        bool, typer.Option("--wrong-password", help="Register with a wrong one: 401 or 403.")
    ] = False,
    callee_offline: Annotated[
        bool, typer.Option("--callee-offline", help="Do not register TO: expect 480.")
    ] = False,
    callee_busy: Annotated[
        bool, typer.Option("--callee-busy", help="TO refuses: expect 486.")
    ] = False,
) -> None:
    """A call between two real SIP clients outside, its encryption and audio verified.

    Both register over TLS with their passwords from Vault; FROM calls TO by way of proxy and PBX;
    each plays a tone, which has to be heard at the other side. Exit 1 names the step that failed.

    \b
    Examples:
      ./voip call 1001 1002
      ./voip call 1001 '*43'                    the echo
      ./voip call 1001 1002 --codec G722 --keep recordings
      ./voip call 1001 1002 --count 10 --json
      ./voip call 1001 1003 --callee-offline    480
    """
    from rich.console import Console

    from voip_stack.call.plan import make_plan
    from voip_stack.call.report import as_json as as_object
    from voip_stack.call.run import Options
    from voip_stack.cli.hosts import pillar

    platform, plan = _platform(make_plan(pillar(), caller, callee, codec))
    options = Options(
        duration_s=duration,
        wrong_password=wrong_password,
        callee_offline=callee_offline,
        callee_busy=callee_busy,
        keep=keep,
    )
    progress = Console(stderr=True, highlight=False)
    out = Console(highlight=False)
    reports: list[CallReport] = []
    with _one_at_a_time(progress):
        _make_calls(plan, platform, options, count, reports, progress, None if as_json else out)
    if as_json:
        typer.echo(json.dumps(as_object(reports), indent=2))
    elif count > 1:
        verified = sum(report.ok for report in reports)
        out.print(f"{verified} of {count} calls verified")
    if not all(report.ok for report in reports):
        raise typer.Exit(1)


def _make_calls(
    plan: Plan,
    platform: Platform,
    options: Options,
    count: int,
    reports: list[CallReport],
    progress: Console,
    out: Console | None,
) -> None:
    """Make `count` calls, each reported as it ends; out is None when nobody reads words."""
    from voip_stack.call.report import print_report
    from voip_stack.call.run import run_call

    title = f"{plan.caller} → {plan.callee}"
    for number in range(1, count + 1):
        prefix = f"call {number} of {count}: " if count > 1 else ""
        with progress.status(f"{prefix}{title}") as live:

            def show(step: str, live: Status = live, prefix: str = prefix) -> None:
                live.update(f"{prefix}{title}: {step}")

            report = run_call(plan, platform, options, show)
        reports.append(report)
        _print_steps(progress, report, prefix)
        if out is not None:
            print_report(report, out)


@contextmanager
def _one_at_a_time(progress: Console) -> Iterator[None]:
    """Two runs at once would answer each other's calls: the second waits for the first."""
    import fcntl

    from voip_stack import paths
    from voip_stack.problem import Problem

    path = paths.state_dir() / "call.lock"
    try:
        lock = open(path, "w")  # noqa: SIM115 - closed below, with the lock
    except OSError as err:
        raise Problem("There is no platform to call through", str(path), "./voip up") from err
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.print("another `voip call` runs in this checkout: waiting for its end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _print_steps(progress: Console, report: CallReport, prefix: str) -> None:
    """The finished steps with their times, on standard error."""
    steps = ", ".join(f"{name} {ms / 1000:.1f} s" for name, ms in report.steps)
    progress.print(f"[dim]{prefix}{steps}; {report.elapsed_s} s in all[/]", soft_wrap=True)


def _platform(plan: Plan) -> tuple[Platform, Plan]:
    """The deployed platform behind this checkout, and the plan as this machine has to do it."""
    from voip_stack import paths, vault
    from voip_stack.call.outside import from_here
    from voip_stack.call.run import Platform
    from voip_stack.cli.hosts import provider_of
    from voip_stack.master import client
    from voip_stack.problem import Problem

    def ca_pem() -> str:
        try:
            return paths.ca_file().read_text()
        except OSError as err:
            raise Problem(
                "The platform's root certificate is not here", str(paths.ca_file()), "./voip up"
            ) from err

    provider = provider_of()
    command: Callable[[str, Sequence[str]], Sequence[str]] = provider.command
    if provider.name != "lab":
        # Only the lab has a guest for the outside: elsewhere this machine is the outside.
        plan, command = from_here(plan)
    return (
        Platform(
            ca_pem=ca_pem,
            passwords=vault.subscriber_passwords,
            command=command,
            ask=partial(client.call, timeout_s=ASK_DEADLINE_S),
        ),
        plan,
    )
