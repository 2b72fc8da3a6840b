"""Files of pillar/subscribers/ as entries that are not validated yet, each with its line."""

from __future__ import annotations

import csv
import io
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from voip_stack.pillar.documents import Document
from voip_stack.pillar.problems import PillarError, PillarProblem

FOLDER = "subscribers"
# Columns of a CSV file that hold several values, separated by spaces.
LISTS = ("aliases", "destinations", "groups")
FORWARD = "forward_"
COLUMNS = (
    "number", "name", "domain", "state", "record", "keying", "voicemail",
    "forward_always", "forward_busy", "forward_no_answer", "forward_unreachable", "forward_after_s",
    "destinations", "max_calls", "caller_id", "aliases", "groups",
)  # fmt: skip
_BATCH = 5000

Entry = dict[str, Any]


def files(directory: Path) -> list[Path]:
    """The YAML and CSV files of subscribers below the pillar's directory, sorted."""
    found = (path for path in (directory / FOLDER).glob("**/*") if not path.name.startswith("."))
    return sorted(path for path in found if path.suffix in (".yaml", ".csv"))


class YamlSource:
    """People's files: subscribers, groups and aliases."""

    keys = ("subscribers", "groups", "aliases")

    def __init__(self, name: str, data: bytes):
        self._document = Document(name, data)
        self.name = name
        content = self._document.content
        self.problems = [
            self.problem((key,), "no such key here") for key in content if key not in self.keys
        ]
        self._entries = self._part("subscribers", list)
        self.groups = self._part("groups", dict)
        self.aliases = self._part("aliases", dict)

    def batches(self) -> Iterator[list[Entry]]:
        yield from (self._entries[at : at + _BATCH] for at in range(0, len(self._entries), _BATCH))

    def problem(self, location: tuple, expected: str, found: str = "") -> PillarProblem:
        """About a value by its key path, as ("subscribers", 3, "name")."""
        key = ".".join(map(str, location))
        return PillarProblem(self.name, self._document.line(location), key, expected, found)

    def _part(self, key: str, kind: type) -> Any:
        value = self._document.content.get(key)
        if value is None or isinstance(value, kind):
            return value or kind()
        expected = "a list expected" if kind is list else "a mapping expected"
        self.problems.append(self.problem((key,), expected, repr(value)[:80]))
        return kind()


class CsvSource:
    """Bulk: a header of names out of COLUMNS, a line for each subscriber."""

    groups: dict[str, Any] = {}  # noqa: RUF012 - a CSV file has none
    aliases: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, name: str, data: bytes):
        self.name = name
        self.problems: list[PillarProblem] = []
        self._lines = array("L")
        self._text = io.StringIO(_decoded(name, data), newline="")

    def batches(self) -> Iterator[list[Entry]]:
        self._text.seek(0)
        self._lines = array("L")
        reader = csv.reader(self._text, strict=True)
        batch: list[Entry] = []
        try:
            header = next(reader, [])
            build = self._builder(header)
            before = reader.line_num
            for row in reader if build else ():
                if row and len(row) != len(header):
                    found = f"{len(row)} values"
                    expected = f"{len(header)} values expected, as the header has"
                    self.problems.append(PillarProblem(self.name, before + 1, "", expected, found))
                elif row and build:
                    batch.append(build(row))
                    self._lines.append(before + 1)
                before = reader.line_num
                if len(batch) == _BATCH:
                    yield batch
                    batch = []
        except csv.Error as error:
            self.problems.append(PillarProblem(self.name, reader.line_num, "", str(error)))
        yield batch

    def problem(self, location: tuple, expected: str, found: str = "") -> PillarProblem:
        """As YamlSource's; the key is the column."""
        _, index, *rest = location
        return PillarProblem(self.name, self._lines[index], _column(rest), expected, found)

    def _builder(self, header: list[str]) -> Callable[[list[str]], Entry] | None:
        """What makes an entry of a row; None, and a problem told, for a header that is none."""
        unknown = {name for name in header if name not in COLUMNS}
        twice = {name for name in header if header.count(name) > 1}
        missing = [name for name in ("number", "name") if name not in header]
        for wrong, words in ((unknown, "no such column"), (twice, "a column twice")):
            self.problems += [PillarProblem(self.name, 1, name, words) for name in sorted(wrong)]
        self.problems += [PillarProblem(self.name, 1, name, "a column of it expected")
                          for name in missing]  # fmt: skip
        if unknown or twice or missing:
            return None
        lists = [name for name in header if name in LISTS]
        forwards = [name for name in header if name.startswith(FORWARD)]

        def build(row: list[str]) -> Entry:
            entry: Entry = {name: value for name, value in zip(header, row, strict=True) if value}
            for name in lists:
                if name in entry:
                    entry[name] = entry[name].split()
            for name in forwards:
                if name in entry:
                    entry.setdefault("forward", {})[name.removeprefix(FORWARD)] = entry.pop(name)
            return entry

        return build


Source = YamlSource | CsvSource


def read(directory: Path, contents: dict[Path, bytes]) -> tuple[list[Source], list[PillarProblem]]:
    """Every readable file, and what is wrong with the others. contents: of every file."""
    sources: list[Source] = []
    problems: list[PillarProblem] = []
    # People's files first: what a bulk file says again is told where it stands in that one.
    for path, data in sorted(contents.items(), key=lambda item: (item[0].suffix == ".csv", item)):
        kind = CsvSource if path.suffix == ".csv" else YamlSource
        try:
            sources.append(kind(str(path.relative_to(directory)), data))
        except PillarError as error:
            problems += error.problems
    return sources, problems


def _decoded(name: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PillarError([PillarProblem(name, line, "", "UTF-8 expected")]) from error


def _column(keys: list) -> str:
    if keys[:1] == ["forward"] and len(keys) > 1:
        return f"{FORWARD}{keys[1]}"
    return str(keys[0]) if keys else ""
