"""`./voip certificates`: list, revoke, renew, rotate-ca."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from voip_stack.cli.guard import guarded

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
Json = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Host = Annotated[str, typer.Argument(metavar="HOST")]
Component = Annotated[str, typer.Argument(metavar="COMPONENT", help="As `list` tells it.")]


def _list(
    host: Annotated[str | None, typer.Argument(metavar="HOST", help="Of this host only.")] = None,
    as_json: Json = False,
) -> None:
    """Every certificate: who issued it, how long it lives, whether it is revoked.

    \b
    state: good; revoked; unproven: its daemon has not shown it yet; unknown: the Vault did not
    say. Of a host that does not answer: what the Vault has signed for it. Exit code 1 when
    something could not be found out.
    \b
    JSON: {certificates: [{host, component, serial, issuer, authority, not_after, life_s, left_s,
    unproven, revoked, problem}], rotation: {phase, step, issuers, due}, notes: [text]}.
    \b
    Examples:
      ./voip certificates list
      ./voip certificates list sip-1
      ./voip certificates list --json | jq '.certificates[] | select(.left_s < 86400)'
    """
    from voip_stack.certificates import authority, inventory
    from voip_stack.cli.hosts import pillar, require_host
    from voip_stack.problem import Problem

    if host:
        require_host(host)
    known = pillar()
    rows, notes = inventory.survey(known, [host] if host else known.minions())
    try:
        rotation: dict[str, Any] | None = authority.progress(known)
    except Problem as problem:
        rotation = None
        notes.append(f"the intermediate CA: the Vault does not tell: {problem}")
    if as_json:
        typer.echo(
            json.dumps({"certificates": rows, "rotation": rotation, "notes": notes}, indent=2)
        )
    else:
        _show(rows, rotation)
        for note in notes:
            typer.echo(f"note: {note}", err=True)
    if notes:
        raise typer.Exit(1)


def _revoke(
    host: Host,
    component: Component,
    reason: Annotated[str, typer.Option(help="For the record; no secret.")] = "",
    no_replace: Annotated[
        bool, typer.Option("--no-replace", help="Give it no other: of a host that was stolen.")
    ] = False,
    serial: Annotated[
        str | None, typer.Option(help="Not the one in use but this one, in hex.")
    ] = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Revoke a certificate. Its host gets another first, so that the service goes on.

    \b
    Then every host that checks has the new revocation list. Who did it is in
    .voip/events/revocations.jsonl. Interrupted, the same command goes on.
    With --no-replace nobody who checks lets that component in or calls it until it has another.
    All of a host, with its identity: ./voip destroy HOST.
    \b
    JSON: {host, component, serial, replaced_by, revoked_at, reason, checked_by: [host]}.
    \b
    Examples:
      ./voip certificates revoke pbx-1 asterisk --reason "key was in a backup that leaked"
      ./voip certificates revoke pbx-1 asterisk --no-replace --yes
      ./voip certificates revoke pbx-1 asterisk --serial 5e0c77f1... --no-replace
    """
    from voip_stack.certificates.revoke import revoke
    from voip_stack.cli.confirm import confirm
    from voip_stack.steps import Steps

    known = _require(host, component)
    which = f"the certificate {serial}" if serial else "the certificate in use"
    after = "without another" if no_replace else "after it has another"
    confirm(f"Revoke {which} of {component} on {host}, {after}?", yes)
    with Steps("certificates") as steps:
        done = revoke(
            known, host, component, steps, reason=reason, replace=not no_replace, serial=serial
        )
    typer.echo(json.dumps(done, indent=2) if as_json else f"revoked  {done['serial']}")


def _renew(host: Host, component: Component, as_json: Json = False) -> None:
    """Give a component another certificate now, good or not, and prove that it is shown.

    \b
    JSON: {host, name, by, outcome, why, seconds, proof_s, serial, not_after, life_s}.
    \b
    Examples:
      ./voip certificates renew sip-1 kamailio
      ./voip certificates renew devstack openbao --json
    """
    from voip_stack.certificates.renew import renew
    from voip_stack.steps import Steps

    _require(host, component)
    with (
        Steps("certificates") as steps,
        steps.step(f"Renew the certificate of {component} on {host}") as step,
    ):
        done = renew(host, component, by="command line")
        step.done(done.serial or "")
    told = f"{done.serial}  until {done.not_after}"
    typer.echo(json.dumps(asdict(done), indent=2) if as_json else told)


def _rotate_ca(
    revoke_old: Annotated[
        bool, typer.Option("--revoke-old", help="The root revokes the old one at the end.")
    ] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Another intermediate CA: every certificate is replaced, then the old CA goes.

    \b
    No handshake fails: both are good until each daemon has shown a certificate of the new one.
    Goes on where a run was interrupted; `list` tells how far one is.
    \b
    JSON: {old, new, steps: [step], replaced: ["host/component"]}.
    \b
    Examples:
      ./voip certificates rotate-ca
      ./voip certificates rotate-ca --revoke-old --yes
      .venv/bin/salt-run state.orchestrate orch.rotate_ca
    """
    from voip_stack.certificates import authority
    from voip_stack.cli.confirm import confirm
    from voip_stack.cli.hosts import pillar
    from voip_stack.steps import Steps

    confirm("Replace the intermediate CA and every certificate?", yes)
    with Steps("certificates") as steps, steps.step("Rotate the intermediate CA") as step:
        done = authority.rotate(pillar(), step.note, revoke_old=revoke_old)
        step.done(f"{len(done['replaced'])} certificates replaced")
    typer.echo(json.dumps(done, indent=2) if as_json else f"{done['old']} -> {done['new']}")


def _require(host: str, component: str) -> Any:
    """The pillar; Problem unless it gives `host` a certificate of `component`."""
    from voip_stack.cli.hosts import pillar, require_host
    from voip_stack.pillar.compile import certificates
    from voip_stack.problem import Problem

    require_host(host)
    known = pillar()
    names = sorted(certificates(known, host))
    if component not in names:
        told = f"one of {', '.join(names)}" if names else "it has none"
        raise Problem(f"{host} has no certificate of {component}", "pillar/topology.yaml", told)
    return known


def _show(rows: list[dict[str, Any]], rotation: dict[str, Any] | None) -> None:
    from rich.table import Table

    from voip_stack.cli.console import wide_console
    from voip_stack.cli.secrets import days

    table = Table(box=None, pad_edge=False)
    for heading in ("host", "component", "serial", "issuer", "until", "left", "state"):
        table.add_column(heading)
    for row in rows:
        left = row.get("left_s")
        table.add_row(
            row["host"],
            row["component"] or "?",
            row.get("serial") or "-",
            (row.get("issuer") or "-").removeprefix("CN="),
            (row.get("not_after") or "-")[:16].replace("T", " "),
            "-" if left is None else days(left) if left > 0 else "over",
            _state(row),
        )
    console = wide_console()
    console.print(table)
    if rotation and rotation["phase"] != "stable":
        console.print(
            f"The intermediate CA is being rotated: {rotation['phase']}, next is "
            f"{rotation['step']}. ./voip certificates rotate-ca goes on."
        )


def _state(row: dict[str, Any]) -> str:
    if row.get("problem"):
        return str(row["problem"])
    if row["revoked"]:
        return "revoked"
    if row.get("unproven"):
        return "unproven"
    return "unknown" if row["revoked"] is None else "good"


for _name, _function in (
    ("list", _list),
    ("revoke", _revoke),
    ("renew", _renew),
    ("rotate-ca", _rotate_ca),
):
    app.command(_name)(guarded(_function))
