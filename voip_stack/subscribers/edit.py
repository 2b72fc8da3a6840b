"""Edits of pillar/subscribers/: validated with the whole pillar first, comments and order kept."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from typing import Any

from voip_stack import deployment, paths
from voip_stack.locked import locked
from voip_stack.pillar import Pillar, load
from voip_stack.problem import Problem
from voip_stack.subscribers import sources

# Longer flow mappings than these are broken by ruamel.yaml.
_WIDTH = 140


def add(directory: Path, entry: dict[str, Any], file: str) -> Path:
    """Put a subscriber at the end of pillar/subscribers/FILE, made where it is missing.

    entry: as people write it, only what is said. Raises Problem for a file that is no YAML,
    PillarError when the pillar would be refused: nothing is written then.
    """
    path = directory / sources.FOLDER / file
    if path.suffix != ".yaml":
        raise Problem(f"{file}: a YAML file expected", str(path), "--file NAME.yaml", 2)
    with _turn():
        document = _round_trip().load(path.read_bytes()) if path.exists() else None
        document = document if document is not None else _mapping()
        entries = document.setdefault("subscribers", _sequence())
        if entries is None:
            entries = document["subscribers"] = _sequence()
        is_flow = all(item.fa.flow_style() for item in entries)
        entries.append(_entry(entry, is_flow))
        _replace(directory, path, _dumped(document))
    return path


def set_state(directory: Path, number: str, state: str) -> Path:
    """Set one subscriber's state, in whatever file it is. Raises Problem for a number of nobody."""
    with _turn():
        path, _, index = _place(directory, number)
        if path.suffix == ".csv":
            data = _csv_with(path.read_bytes().decode("utf-8-sig"), index, "state", state)
        else:
            document = _round_trip().load(path.read_bytes())
            document["subscribers"][index]["state"] = state
            data = _dumped(document)
        _replace(directory, path, data)
    return path


def take_in(directory: Path, source: Path, name: str, replaces: bool = False) -> tuple[Path, int]:
    """Put a CSV file into the pillar as NAME; returns where, and how many there are in all.

    Raises Problem for a name that is taken, PillarError as `add`.
    """
    path = directory / sources.FOLDER / name
    if path.suffix != ".csv" or path.parent != directory / sources.FOLDER:
        raise Problem(f"{name}: the name of a CSV file expected", how="--name NAME.csv", code=2)
    with _turn():
        if path.exists() and not replaces:
            raise Problem(f"{name} is there already", str(path), "--name another, or --replace", 2)
        known = _replace(directory, path, source.read_bytes())
    return path, len(known.subscribers)


def place(directory: Path, number: str) -> str:
    """File and line of one subscriber, as pillar/subscribers/lab.yaml:3."""
    _, source, index = _place(directory, number)
    return f"pillar/{source.name}:{source.problem(('subscribers', index), '').line}"


def exported(known: Pillar) -> str:
    """Every subscriber as CSV, of the form that `take_in` reads; groups' settings are in it."""
    aliases: dict[str, list[str]] = {}
    for alias, number in known.subscribers.alias_numbers().items():
        aliases.setdefault(number, []).append(alias)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(sources.COLUMNS)
    for entry in known.subscribers:
        values = entry._asdict() | {
            "domain": known.site.domain,
            "record": "true" if entry.record else "",
            "aliases": " ".join(aliases.get(entry.number, [])),
            "groups": entry.groups.replace(",", " "),
            "destinations": entry.destinations.replace(",", " "),
            "max_calls": entry.max_calls or "",
            "forward_after_s": entry.forward_after_s or "",
        }
        writer.writerow([values[name] for name in sources.COLUMNS])
    return text.getvalue()


def _turn() -> Any:
    """One edit at a time: each begins with what the one before has written."""
    return locked(paths.state_dir() / "subscribers" / "edit.lock")


def _replace(directory: Path, path: Path, data: bytes) -> Pillar:
    known = load(directory, {path: data})
    path.parent.mkdir(exist_ok=True)
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
    deployment.write_atomic(path, data.decode(), mode)
    return known


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _place(directory: Path, number: str) -> tuple[Path, sources.Source, int]:
    """File, what was read of it, and the index of the entry there."""
    for path in sources.files(directory):
        found, _ = sources.read(directory, {path: path.read_bytes()})
        for source in found:
            index = 0
            for batch in source.batches():
                for offset, entry in enumerate(batch):
                    if isinstance(entry, dict) and entry.get("number") == number:
                        return path, source, index + offset
                index += len(batch)
    raise Problem(
        f"{number} is not a subscriber", "pillar/subscribers/", "./voip subscribers export", 2
    )


def _csv_with(text: str, index: int, column: str, value: str) -> bytes:
    """The CSV with one value of the row `index` set; the column is added where it is missing."""
    header, *body = (row for row in csv.reader(io.StringIO(text, newline="")) if row)
    if column not in header:
        header.append(column)
        for row in body:
            row.append("")
    body[index][header.index(column)] = value
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n" if "\r\n" in text else "\n").writerows([header, *body])
    return out.getvalue().encode()


def _round_trip() -> Any:
    from ruamel.yaml import YAML

    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = _WIDTH
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def _mapping() -> Any:
    from ruamel.yaml.comments import CommentedMap

    return CommentedMap()


def _sequence() -> Any:
    from ruamel.yaml.comments import CommentedSeq

    return CommentedSeq()


def _entry(values: dict[str, Any], is_flow: bool) -> Any:
    """An entry in the style of those that are there, with numbers quoted."""
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString as Quoted

    def styled(value: Any) -> Any:
        if isinstance(value, dict):
            return _entry(value, True)
        if isinstance(value, list):
            found = _sequence()
            found.extend(styled(item) for item in value)
            found.fa.set_flow_style()
            return found
        is_number = isinstance(value, str) and value.lstrip("+").isdigit()
        return Quoted(value) if is_number else value

    made = _mapping()
    made.update({name: styled(value) for name, value in values.items()})
    if is_flow:
        made.fa.set_flow_style()
    return made


def _dumped(document: Any) -> bytes:
    text = io.BytesIO()
    _round_trip().dump(document, text)
    return text.getvalue()
