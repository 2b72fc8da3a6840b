"""The command line: one module a verb. Here: registration, errors, exit codes.

Modules import nothing heavy at the top, so that `./voip --help` answers at once.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from voip_stack.cli import (
    bans,
    bench,
    call,
    certificates,
    destroy,
    drain,
    incidents,
    logs,
    maintenance,
    phone,
    recordings,
    roster,
    salt,
    secrets,
    shell,
    soak,
    status,
    subscribers,
    switch_proxy,
    test,
    up,
)
from voip_stack.cli.guard import guarded

HELP = """One command to a complete, secure telephone system.

\b
  ./voip up                start everything, converge it
  ./voip call 1001 1002    a real encrypted call, its audio measured
  ./voip destroy           leave the machine as it was
"""
EXIT_CODES = """\b
Exit codes:
  0    done
  1    failed: the message says what, where and what to do
  2    wrong usage
  3    this machine lacks something; the message says what to install or do
  4    the pillar was refused, no host was touched
  130  interrupted; the same command goes on from there
\b
Results go to standard output, progress and errors to standard error.
VOIP_DEBUG=1 shows tracebacks. VOIP_STATE_DIR and VOIP_CACHE_DIR move .voip and ~/.cache/voip-stack.
"""
PASS_THROUGH = {"ignore_unknown_options": True, "allow_interspersed_args": False}

app = typer.Typer(
    help=HELP,
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
# Name, function, line in the list of commands, settings.
COMMANDS: list[tuple[str, Callable[..., Any], str, dict[str, Any]]] = [
    ("up", up.up, "Start everything and converge it; again: go on, or change nothing.", {}),
    ("status", status.status, "Guests, minions, components, versions.", {}),
    ("call", call.call, "A real call between two SIP clients, measured.", {}),
    ("phone", phone.phone, "The web phone in a window, to try by hand.", {}),
    ("incidents", incidents.incidents, "What failed, and what was done about it.", {}),
    ("maintenance", maintenance.maintenance, "Pause self-repair of a host.", {}),
    ("drain", drain.drain, "Take a media host out without cutting a call.", {}),
    ("switch-proxy", switch_proxy.switch_proxy, "Move calls to the other proxy.", {}),
    ("shell", shell.shell, "A root shell or one command on a host.", PASS_THROUGH),
    ("logs", logs.logs, "The journal of a host or of one unit.", {}),
    ("secrets", secrets.secrets, "Ages of passwords, and their rotation.", {}),
    ("roster", roster.roster, "The hosts as a roster for salt-ssh.", {}),
    ("salt", salt.salt, "Salt's `salt` with this checkout's master.", PASS_THROUGH),
    ("test", test.run_tests, "The tests, the lab brought up for them.", PASS_THROUGH),
    ("bench", bench.bench, "Measure, and compare with the goals.", {}),
    ("soak", soak.soak, "Certificates replaced under load, for long.", {}),
    ("destroy", destroy.destroy, "Remove everything `up` made.", {}),
]
for _name, _function, _line, _settings in COMMANDS:
    app.command(_name, short_help=_line, context_settings=_settings)(guarded(_function))
app.add_typer(
    certificates.app, name="certificates", help="Certificates: list, revoke, renew, rotate the CA."
)
app.add_typer(
    subscribers.app,
    name="subscribers",
    help="Subscribers: add, show, rotate, suspend, import.",
)
app.add_typer(bans.app, name="bans", help="Who is shut out: list, lift.")
app.add_typer(recordings.app, name="recordings", help="Recorded calls: list, fetch, audit, start.")


def _version(wanted: bool) -> None:
    if wanted:
        from voip_stack.cli.version import text

        typer.echo(text())
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options before the command."""


def main() -> None:
    """Entry point of `python -m voip_stack`."""
    # So that a terminated run releases its lock and ends its children like an interrupted one.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.umask(0o022)
    app(prog_name="./voip")
