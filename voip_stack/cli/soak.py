"""`./voip soak KIND`."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import typer

from voip_stack.malformed import WHOLE

MINUTES = {"certificates": 30.0, "sealed": 10.0}


class Kind(StrEnum):
    certificates = "certificates"
    sealed = "sealed"
    malformed = "malformed"


def soak(
    kind: Annotated[Kind, typer.Argument(help="Which soak.")],
    minutes: Annotated[
        float | None,
        typer.Option(
            "--minutes", min=1, max=1440, help="How long; 30 for certificates, 10 for sealed."
        ),
    ] = None,
    messages: Annotated[
        int,
        typer.Option("--messages", min=1000, help="malformed: mutations; a tenth as many logins."),
    ] = WHOLE,
    proxy: Annotated[
        str, typer.Option("--proxy", help="malformed: the one that is attacked and called by.")
    ] = "kamailio",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Calls go on while certificates are replaced, or under malformed messages; exit 1 when not.

    certificates: every certificate lives 3 minutes, and is renewed again and again. sealed: the
    Vault is sealed while every certificate falls due, then unsealed. Ten calls are always up, and
    every listener is asked for a verified TLS handshake three times a second. A Ctrl-C ends it
    early, with its report. Afterwards certificates have their ordinary life again; of a run that
    was killed, the next soak or `./voip up` sees to that.

    malformed: RFC 4475's messages, mutations of valid ones over TLS and WSS, oversized ones, slow
    clients and bad logins, from 150 addresses of the lab's outside. Ten calls are always up and
    their audio is verified; no process may have ended, no memory may be lost. It takes as long as
    --messages says.

    \b
    JSON: {soak, ok, broken: [promise], minutes, began, life_s,
      certificates: [{host, name, listeners, renewed, needed, left_s, caught_up_s}],
      calls: {lowest, made, looks, registrations, failed,
              failures: [{at, caller, callee, is_held, reason}]},
      handshakes: {listeners, done, failed, failures: [{host, listener, at, reason}]},
      daemons: {watched, restarted: [what]}, sealed: {for_s, calls_made, until_the_end} or null}.
    Of malformed: {soak, ok, broken, proxy, messages, logins, sources, seconds, attacks: {torture,
      oversized, mutations, slow, logins}, parsed: {counter: count}, calls: as above, restarted,
      banned, before, after: {pids, resident_kib, pool_kib}}.
    Kept in .voip/soak/ as well.
    \b
    Examples:
      ./voip soak certificates
      ./voip soak certificates --minutes 5 --json
      ./voip soak sealed
      ./voip soak malformed --proxy opensips --messages 10000 --json
    """
    if kind is Kind.malformed:
        _malformed(messages, proxy, as_json)
        return
    from voip_stack.soak.report import table
    from voip_stack.soak.run import run

    report = run(kind, minutes or MINUTES[kind])
    typer.echo(json.dumps(report.as_dict(), indent=2) if as_json else table(report))
    if report.broken:
        raise typer.Exit(1)


def _malformed(messages: int, proxy: str, as_json: bool) -> None:
    from voip_stack.malformed.report import table
    from voip_stack.malformed.run import run

    report = run(messages, messages // 10, proxy)
    typer.echo(json.dumps(report.as_dict(), indent=2) if as_json else table(report))
    if report.broken:
        raise typer.Exit(1)
