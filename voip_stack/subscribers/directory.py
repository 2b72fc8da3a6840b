"""All subscribers, compiled: packed rows of the database's columns, unpacked when read."""

from __future__ import annotations

import csv
import hashlib
import io
import sys
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from voip_stack import paths
from voip_stack.subscribers import forwarding

# The columns and the form in which rows travel are shared with the minions.
sys.path.append(str(paths.CHECKOUT / "_utils"))

import voip_subscribers


class Entry(NamedTuple):
    """One subscriber with its groups' settings: voip_subscribers.COLUMNS, then what is not there.

    "" or 0: nothing said, the site's policy holds. groups, destinations: joined by commas.
    """

    number: str
    state: str
    name: str
    groups: str
    destinations: str
    max_calls: int
    caller_id: str
    voicemail: str
    forward_always: str
    forward_busy: str
    forward_no_answer: str
    forward_unreachable: str
    forward_after_s: int
    record: bool
    keying: str


class Directory:
    """Iterable over its Entries, in the order of their numbers.

    digest: of all that the database holds. rows, aliases: packed (voip_subscribers.pack), of
    COLUMNS and ALIAS_COLUMNS. record, dtls: numbers. lengths: of numbers, by their first digit.
    forwards: {number: {kind: number, "after_s": seconds, "voicemail": box}} of who is active, as
    far as they are said.
    """

    # Not a dataclass: pydantic would dump one.
    def __init__(self, values: dict[str, Any]):
        self.digest: str = values["digest"]
        self.count: int = values["count"]
        self.rows: str = values["rows"]
        self.aliases: str = values["aliases"]
        self.record: list[str] = values["record"]
        self.dtls: list[str] = values["dtls"]
        self.lengths: dict[str, list[int]] = values["lengths"]
        self.forwards: dict[str, dict[str, Any]] = values["forwards"]

    def as_dict(self) -> dict[str, Any]:
        """What makes the same Directory again."""
        return dict(vars(self))

    @classmethod
    def of(
        cls, rows: Iterable[tuple], aliases: dict[str, str], record: list[str], dtls: list[str]
    ) -> Directory:
        """rows: of COLUMNS, in any order. aliases: {E.164: number}."""
        sorted_rows = sorted(rows)
        text, alias_text = _text(sorted_rows), _text(sorted(aliases.items()))
        lengths: dict[str, set[int]] = {}
        for row in sorted_rows:
            lengths.setdefault(row[0][0], set()).add(len(row[0]))
        return cls(
            {
                "digest": hashlib.sha256(f"{text}\n{alias_text}".encode()).hexdigest(),
                "count": len(sorted_rows),
                "rows": voip_subscribers.pack(text),
                "aliases": voip_subscribers.pack(alias_text),
                "record": sorted(record),
                "dtls": sorted(dtls),
                "lengths": {first: sorted(found) for first, found in sorted(lengths.items())},
                "forwards": _forwards(sorted_rows, aliases),
            }
        )

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Entry]:
        record, dtls = set(self.record), set(self.dtls)
        for row in _rows(self.rows):
            values: list[Any] = list(row)
            for index in _INTEGERS:
                values[index] = int(values[index])
            number = row[0]
            yield Entry._make([*values, number in record, "dtls" if number in dtls else "sdes"])

    def find(self, number: str) -> Entry | None:
        return next((entry for entry in self if entry.number == number), None)

    def alias_numbers(self) -> dict[str, str]:
        """{E.164: number}"""
        return dict(_rows(self.aliases))


def _forwards(rows: Iterable[tuple], aliases: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Of the active rows: where calls go instead, an E.164 number of ours as the number it is."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row[_STATE] == "active" and (row[_BOX] or any(row[_TARGETS])):
            targets = zip(forwarding.KINDS, row[_TARGETS], strict=True)
            known = {kind: aliases.get(target, target) for kind, target in targets if target}
            rest = {"after_s": row[_AFTER], "voicemail": row[_BOX]}
            found[row[0]] = known | {name: value for name, value in rest.items() if value}
    return found


_STATE, _AFTER, _BOX = (
    voip_subscribers.COLUMNS.index(name) for name in ("state", "forward_after_s", "voicemail")
)
_TARGETS = slice(voip_subscribers.COLUMNS.index(f"forward_{forwarding.KINDS[0]}"), _AFTER)
_INTEGERS = [voip_subscribers.COLUMNS.index(name) for name in ("max_calls", "forward_after_s")]


def _text(rows: Iterable[tuple]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _rows(packed: str) -> Iterator[list[str]]:
    return csv.reader(io.StringIO(voip_subscribers.unpack(packed).decode(), newline=""))


EMPTY = Directory.of([], {}, [], [])
