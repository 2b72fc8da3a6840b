"""`./voip call FROM TO`: a real encrypted call, measured and verified."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

    from voip_stack.call.plan import Plan
    from voip_stack.call.report import CallReport
    from voip_stack.call.run import Options, Platform


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
    ipv6: Annotated[
        list[str] | None,
        typer.Option("--ipv6", metavar="NUMBER", help="This one comes by IPv6. May be repeated."),
    ] = None,
    from_browser: Annotated[
        bool, typer.Option("--from-browser", help="FROM is Chromium on the web phone's page.")
    ] = False,
    to_browser: Annotated[
        bool, typer.Option("--to-browser", help="TO is Chromium on the web phone's page.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Install Chromium unasked, where it is missing.")
    ] = False,
    proxy: Annotated[
        str, typer.Option("--proxy", help="kamailio or opensips: where both register.")
    ] = "kamailio",
) -> None:
    """A call between two real SIP clients outside, its encryption and audio verified.

    Both register over TLS with their passwords from Vault; FROM calls TO by way of proxy and PBX;
    each plays a tone, which has to be heard at the other side. A browser registers by secure
    WebSocket, and its media is DTLS-SRTP with ICE. Exit 1 names the step that failed.

    \b
    Examples:
      ./voip call 1001 1002
      ./voip call 1001 '*43'                    the echo
      ./voip call 1001 1002 --codec G722 --keep recordings
      ./voip call 1001 1002 --count 10 --json
      ./voip call 1001 1003 --callee-offline    480
      ./voip call 1001 1002 --ipv6 1001         from IPv6 to IPv4
      ./voip call 1001 1002 --from-browser      from Chromium to a phone
      ./voip call 1001 1002 --proxy opensips
    """
    from rich.console import Console

    from voip_stack.call.chromium import PACKAGES
    from voip_stack.call.deployed import deployed
    from voip_stack.call.exclusive import one_at_a_time
    from voip_stack.call.plan import make_plan
    from voip_stack.call.report import as_json as as_object
    from voip_stack.call.run import Options
    from voip_stack.cli.hosts import pillar
    from voip_stack.up.run import install_missing

    if unknown := [number for number in ipv6 or [] if number not in (caller, callee)]:
        raise typer.BadParameter(f"{unknown[0]} is neither FROM nor TO", param_hint="--ipv6")
    browsers = [caller] * from_browser + [callee] * to_browser
    known = pillar()
    if to_browser and callee not in [item.number for item in known.subscribers]:
        raise typer.BadParameter(f"{callee} is no subscriber", param_hint="--to-browser")
    planned = make_plan(known, caller, callee, codec, ipv6 or (), browsers, proxy)
    platform, plan = deployed(planned)
    if browsers:
        install_missing(PACKAGES, yes)
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
    with one_at_a_time(progress.print):
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


def _print_steps(progress: Console, report: CallReport, prefix: str) -> None:
    """The finished steps with their times, on standard error."""
    steps = ", ".join(f"{name} {ms / 1000:.1f} s" for name, ms in report.steps)
    progress.print(f"[dim]{prefix}{steps}; {report.elapsed_s} s in all[/]", soft_wrap=True)
