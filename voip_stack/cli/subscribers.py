"""`./voip subscribers`: add, show, password, rotate, suspend, import, export."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from voip_stack.cli.guard import guarded

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
Json = Annotated[bool, typer.Option("--json", help="One JSON object.")]
Number = Annotated[str, typer.Argument(metavar="NUMBER", help="The subscriber's.")]
# What makes an edit of the pillar real.
APPLY = "./voip salt sip-1 state.apply"


class Form(StrEnum):
    csv = "csv"
    json = "json"


def _add(
    number: Annotated[str, typer.Argument(metavar="NUMBER", help="3 to 15 digits.")],
    name: Annotated[str, typer.Option("--name", help="Who it is.")],
    file: Annotated[
        str, typer.Option("--file", help="Of pillar/subscribers/.")
    ] = "subscribers.yaml",
    alias: Annotated[
        list[str] | None, typer.Option("--alias", help="E.164 number that reaches it; repeatable.")
    ] = None,
    group: Annotated[
        list[str] | None, typer.Option("--group", help="A group of the pillar; repeatable.")
    ] = None,
    destination: Annotated[
        list[str] | None, typer.Option("--destination", help="What it may call; repeatable.")
    ] = None,
    forward: Annotated[
        list[str] | None,
        typer.Option("--forward", help="WHEN=TARGET: always, busy, no_answer, unreachable."),
    ] = None,
    max_calls: Annotated[int | None, typer.Option("--max-calls", help="At once.")] = None,
    caller_id: Annotated[str | None, typer.Option("--caller-id", help="E.164.")] = None,
    voicemail: Annotated[str | None, typer.Option("--voicemail", help="The box.")] = None,
    record: Annotated[bool, typer.Option("--record", help="Every call is recorded.")] = False,
    dtls: Annotated[bool, typer.Option("--dtls", help="Its devices want DTLS-SRTP.")] = False,
    as_json: Json = False,
) -> None:
    """Add a subscriber to a YAML file of the pillar; its comments stay.

    The whole pillar is checked first. The password is made when the state is applied.
    \b
    JSON: {number, file}.
    \b
    Examples:
      ./voip subscribers add 1004 --name Canteen
      ./voip subscribers add 1005 --name "Ann Miller" --file sales.yaml --group sales \\
          --alias +4930123456 --forward busy=1001 --max-calls 2
    """
    from voip_stack import paths
    from voip_stack.subscribers import edit

    said = {
        "number": number, "name": name, "record": record, "keying": "dtls" if dtls else None,
        "aliases": alias, "groups": group, "destinations": destination, "max_calls": max_calls,
        "caller_id": caller_id, "voicemail": voicemail, "forward": _forwards(forward or []),
    }  # fmt: skip
    path = edit.add(paths.pillar_dir(), {key: value for key, value in said.items() if value}, file)
    _tell({"number": number, "file": str(path)}, as_json, f"{number} is in {path}; now: {APPLY}")


def _show(
    number: Number,
    contacts: Annotated[
        bool, typer.Option("--contacts", help="Ask the proxies where it is registered too.")
    ] = False,
    as_json: Json = False,
) -> None:
    """What the pillar says of a subscriber, with its groups' settings, and where it stands.

    \b
    JSON: the columns, aliases, file; contacts with --contacts.
    \b
    Examples:
      ./voip subscribers show 1001
      ./voip subscribers show 1001 --contacts --json | jq .contacts
    """
    from voip_stack import paths
    from voip_stack.cli.hosts import pillar
    from voip_stack.subscribers import edit

    where = edit.place(paths.pillar_dir(), number)
    known = pillar().subscribers
    entry = known.find(number)
    assert entry is not None  # noqa: S101 - it has a place
    aliases = [alias for alias, target in known.alias_numbers().items() if target == number]
    found: dict[str, Any] = entry._asdict() | {"aliases": aliases, "file": where}
    if contacts:
        found["contacts"] = [
            {"host": host, "proxy": proxy} | contact
            for host, proxy in _proxies()
            for contact in _call(host, f"{proxy}.registrations", number)
        ]
    shown = [f"{key:<20}{_text(value)}" for key, value in found.items() if value not in ("", 0, [])]
    _tell(found, as_json, "\n".join(shown))


def _password(number: Number, as_json: Json = False) -> None:
    """Read a subscriber's password from the Vault. It is printed: mind who looks.

    \b
    JSON: {number, password}.
    \b
    Examples:
      ./voip subscribers password 1001
    """
    from voip_stack import vault
    from voip_stack.problem import Problem

    found = vault.subscriber_passwords([number]).get(number)
    if found is None:
        raise Problem(f"{number} has no password yet", "the Vault", f"declare it, then {APPLY}")
    _tell({"number": number, "password": found}, as_json, found)


def _rotate(
    numbers: Annotated[list[str], typer.Argument(metavar="NUMBER...", help="Whose.")],
    as_json: Json = False,
) -> None:
    """Make new passwords, and drop the registrations made by the old ones.

    Calls that go on are left. Interrupted, the next state run makes database and Vault agree.
    \b
    JSON: {rotated: [{number, unregistered}]}.
    \b
    Examples:
      ./voip subscribers rotate 1001
      ./voip subscribers rotate 1001 1002 --json
    """
    (host, _), *_ = proxies = _proxies()
    # subscribers.rotate drops what the proxies of its own host have.
    others = [(other, proxy) for other, proxy in proxies if other != host]
    rotated = []
    for number in numbers:
        done = _call(host, "subscribers.rotate", number)
        for other, proxy in others:
            done["unregistered"] |= _call(other, f"{proxy}.unregister", number)
        rotated.append(done)
        if not as_json:
            also = ", its devices have to register anew" if done["unregistered"] else ""
            typer.echo(f"{number} has a new password{also}")
    if as_json:
        typer.echo(json.dumps({"rotated": rotated}, indent=2))


def _suspend(
    number: Number,
    lift: Annotated[bool, typer.Option("--lift", help="Make it active again.")] = False,
    as_json: Json = False,
) -> None:
    """Set a subscriber's state in its file, YAML or CSV. It keeps its password.

    Once applied it neither registers nor calls; calls that go on end by themselves.
    \b
    JSON: {number, state, file}.
    \b
    Examples:
      ./voip subscribers suspend 1001
      ./voip subscribers suspend 1001 --lift
    """
    from voip_stack import paths
    from voip_stack.subscribers import edit

    state = "active" if lift else "suspended"
    path = edit.set_state(paths.pillar_dir(), number, state)
    words = f"{number} is {state} in {path}; now: {APPLY}"
    _tell({"number": number, "state": state, "file": str(path)}, as_json, words)


def _import(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV.", exists=True, dir_okay=False)],
    name: Annotated[
        str | None, typer.Option("--name", help="In pillar/subscribers/; default: as it is called.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="In place of one there.")] = False,
    as_json: Json = False,
) -> None:
    """Put a CSV file of subscribers into the pillar, if the whole pillar is right with it.

    The first line names the columns: number and name, and what else of docs/subscribers.md.
    \b
    JSON: {file, subscribers}.
    \b
    Examples:
      ./voip subscribers import customers.csv
      ./voip subscribers import new.csv --name customers.csv --replace
    """
    from voip_stack import paths
    from voip_stack.subscribers import edit

    path, number = edit.take_in(paths.pillar_dir(), file, name or file.name, replace)
    words = f"{path}: {number} subscribers now; now: {APPLY}"
    _tell({"file": str(path), "subscribers": number}, as_json, words)


def _export(
    to: Annotated[Path | None, typer.Option("--to", help="A file, not standard output.")] = None,
    form: Annotated[Form, typer.Option("--format", help="CSV is what import reads.")] = Form.csv,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Every subscriber of the pillar with its groups' settings; no password.

    \b
    JSON: {subscribers: [{number, name, ...}], aliases: {E.164: number}}.
    \b
    Examples:
      ./voip subscribers export --to all.csv
      ./voip subscribers export --json | jq '.subscribers[] | select(.state == "suspended")'
    """
    from voip_stack.cli.hosts import pillar
    from voip_stack.subscribers import edit

    known = pillar()
    if as_json or form is Form.json:
        entries = [entry._asdict() for entry in known.subscribers]
        found = {"subscribers": entries, "aliases": known.subscribers.alias_numbers()}
        text = json.dumps(found, indent=2, ensure_ascii=False) + "\n"
    else:
        text = edit.exported(known)
    if to is None:
        typer.echo(text, nl=False)
    else:
        to.write_text(text)
        typer.echo(f"{to}: {len(known.subscribers)} subscribers", err=True)


def _forwards(pairs: list[str]) -> dict[str, str]:
    from voip_stack.problem import Problem

    found = {}
    for pair in pairs:
        when, is_pair, target = pair.partition("=")
        if not is_pair:
            raise Problem(f"--forward {pair}: WHEN=TARGET expected", how="busy=1001", code=2)
        found[when] = target
    return found


def _proxies() -> list[tuple[str, str]]:
    """(host, proxy) of those that keep registrations. Problem without one."""
    from voip_stack import deployment
    from voip_stack.cli.hosts import pillar
    from voip_stack.pillar.compile import proxies_of_hosts
    from voip_stack.problem import Problem

    found = proxies_of_hosts(pillar(), deployment.read())
    if not found:
        raise Problem("No host runs a proxy", "pillar/topology.yaml", "give one the role sip")
    return found


def _call(host: str, function: str, number: str) -> Any:
    from voip_stack.master import client

    return client.call(host, function, number)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _tell(found: dict[str, Any], as_json: bool, words: str) -> None:
    typer.echo(json.dumps(found, indent=2, ensure_ascii=False) if as_json else words)


for _name, _function in (
    ("add", _add),
    ("show", _show),
    ("password", _password),
    ("rotate", _rotate),
    ("suspend", _suspend),
    ("import", _import),
    ("export", _export),
):
    app.command(_name)(guarded(_function))
