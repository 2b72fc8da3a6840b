"""Validate every subscriber of every file, compare them, and compile the Directory."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from voip_stack.pillar.problems import PillarError, PillarProblem
from voip_stack.subscribers import cache, forwarding, sources
from voip_stack.subscribers.directory import Directory
from voip_stack.subscribers.model import E164, WORDS, Group, Name, Number, Subscriber
from voip_stack.subscribers.sources import Source

# The word for an empty list, in the database and in CSV: nothing is allowed, not even what the
# site's policy allows.
NONE = "none"

_SUBSCRIBERS = TypeAdapter(list[Subscriber])
_SUBSCRIBER = TypeAdapter(Subscriber)
_GROUPS = TypeAdapter(dict[Name, Group])
_ALIASES = TypeAdapter(dict[E164, Number])

# Where a value stands: its file and its key path in it.
Place = tuple[Source, tuple]


def compiled(
    directory: Path,
    domain: str | None,
    cached: Path | None = None,
    replaced: dict[Path, bytes] | None = None,
    destinations: frozenset[str] | None = None,
) -> Directory:
    """The subscribers below the pillar's `directory`.

    domain: the only one that the site serves; None where it is not known. cached: folder of what
    was compiled before, None for none. replaced: content of files in place of what is on disk.
    destinations: the names that policy has, None for any.
    Raises PillarError with every problem of every file.
    """
    contents = {path: path.read_bytes() for path in sources.files(directory)} | (replaced or {})
    if cached is None:
        return _compile(directory, contents, domain, destinations)
    key = cache.key(directory, contents, domain, destinations)
    with cache.turn(cached):
        known = cache.read(cached, key)
        if known is None:
            known = _compile(directory, contents, domain, destinations)
            cache.write(cached, key, known)
    return known


def _compile(
    directory: Path,
    contents: dict[Path, bytes],
    domain: str | None,
    destinations: frozenset[str] | None,
) -> Directory:
    with _uncollected():
        return _Compiler(domain, destinations).compile(directory, contents)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the garbage collector, which would go through all entries again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class _Compiler:
    """What is found while the files are gone through. One for each run."""

    def __init__(self, domain: str | None, destinations: frozenset[str] | None):
        self._domain = domain
        self._known_destinations = destinations
        self._problems: list[PillarProblem] = []
        self._groups: dict[str, Group] = {}
        self._rows: dict[str, tuple] = {}
        self._places: dict[str, Place] = {}
        self._aliases: dict[str, tuple[str, Place]] = {}
        self._forwards: dict[str, tuple[dict[str, str], Place]] = {}
        self._record: list[str] = []
        self._dtls: list[str] = []

    def compile(self, directory: Path, contents: dict[Path, bytes]) -> Directory:
        read, self._problems = sources.read(directory, contents)
        for source in read:
            self._take_groups(source)
        for source in read:
            index = 0
            for batch in source.batches():
                for offset, subscriber in self._valid(source, index, batch):
                    self._take(source, index + offset, subscriber)
                index += len(batch)
        for source in read:
            self._take_aliases(source)
            self._problems += source.problems
        self._check_aliases()
        self._check_forwards()
        if self._problems:
            raise PillarError(sorted(self._problems, key=lambda item: (item.file, item.line)))
        aliases = {alias: number for alias, (number, _) in self._aliases.items()}
        return Directory.of(self._rows.values(), aliases, self._record, self._dtls)

    def _valid(
        self, source: Source, start: int, batch: list[dict[str, Any]]
    ) -> list[tuple[int, Subscriber]]:
        try:
            return list(enumerate(_SUBSCRIBERS.validate_python(batch)))
        except ValidationError as error:
            self._tell(source, ("subscribers",), start, error)
        found = []
        for offset, entry in enumerate(batch):
            try:
                found.append((offset, _SUBSCRIBER.validate_python(entry)))
            except ValidationError:
                continue  # told above
        return found

    def _take(self, source: Source, index: int, item: Subscriber) -> None:
        """One valid subscriber: its row, and what has to be compared with others."""
        number = item.number
        place = (source, ("subscribers", index))
        if number in self._rows:
            first = self._places[number]
            where = f"{first[0].name}:{first[0].problem(first[1], '').line}"
            self._refuse(place, ("number",), f"number {number} is given twice: see pillar/{where}")
            return
        self._places[number] = place
        if item.domain is not None and self._domain not in (None, item.domain):
            self._refuse(place, ("domain",), f"{self._domain} expected: no other is served")
        for alias in item.aliases:
            self._alias(alias, number, (source, ("subscribers", index, "aliases")))
        forward = item.forward
        targets = ("", "", "", "")
        if forward is not None:
            wanted = {name: value for name in forwarding.KINDS if (value := getattr(forward, name))}
            self._forwards[number] = (wanted, (source, ("subscribers", index, "forward")))
            targets = tuple(getattr(forward, name) or "" for name in forwarding.KINDS)  # type: ignore[assignment]
        if item.record:
            self._record.append(number)
        if item.keying == "dtls":
            self._dtls.append(number)
        destinations, max_calls = self._limits(place, item)
        self._rows[number] = (
            number, item.state, item.name, ",".join(sorted(item.groups)), destinations, max_calls,
            item.caller_id or "", item.voicemail or "", *targets,
            (forward.after_s if forward else None) or 0,
        )  # fmt: skip

    def _limits(self, place: Place, item: Subscriber) -> tuple[str, int]:
        """Destinations as the database has them, and calls at once: its own, else its groups'."""
        if item.destinations is not None:
            self._check_destinations(place, item.destinations)
        if not item.groups:
            return _joined(item.destinations), item.max_calls or 0
        groups = []
        for name in item.groups:
            if name in self._groups:
                groups.append(self._groups[name])
            else:
                self._refuse(place, ("groups",), f"a group expected: {name} is none")
        destinations = item.destinations
        named = [group.destinations for group in groups if group.destinations is not None]
        if destinations is None and named:
            destinations = tuple(name for found in named for name in found)
        limits = [group.max_calls for group in groups if group.max_calls is not None]
        return _joined(destinations), item.max_calls or min(limits, default=0)

    def _take_groups(self, source: Source) -> None:
        for name, group in self._checked(source, "groups", _GROUPS).items():
            if name in self._groups:
                self._refuse((source, ("groups", name)), (), f"group {name} is given twice")
            self._groups[name] = group
            self._check_destinations((source, ("groups", name)), group.destinations or ())

    def _take_aliases(self, source: Source) -> None:
        for alias, number in self._checked(source, "aliases", _ALIASES).items():
            self._alias(alias, number, (source, ("aliases", alias)))

    def _checked(self, source: Source, key: str, adapter: TypeAdapter) -> dict[str, Any]:
        """A mapping of a file; a wrong entry is told and left out."""
        found: dict[str, Any] = {}
        for name, value in getattr(source, key).items():
            try:
                found |= adapter.validate_python({name: value})
            except ValidationError as error:
                self._tell(source, (key,), 0, error)
        return found

    def _alias(self, alias: str, number: str, place: Place) -> None:
        if alias in self._aliases:
            other = self._aliases[alias][0]
            self._refuse(place, (), f"alias {alias} is {other}'s already")
        else:
            self._aliases[alias] = (number, place)

    def _check_aliases(self) -> None:
        for alias, (number, place) in self._aliases.items():
            if number not in self._places:
                self._refuse(place, (), f"alias {alias} to nobody: there is no subscriber {number}")

    def _check_destinations(self, place: Place, names: Iterable[str]) -> None:
        for name in names:
            if self._known_destinations is not None and name not in {
                *self._known_destinations,
                NONE,
            }:
                known = ", ".join(sorted(self._known_destinations))
                self._refuse(place, ("destinations",), f"one of {known} expected, not {name}")

    def _check_forwards(self) -> None:
        aliases = {alias: number for alias, (number, _) in self._aliases.items()}
        targets = {number: wanted for number, (wanted, _) in self._forwards.items()}
        for number, kind, words in forwarding.problems(targets, self._places, aliases):
            self._refuse(self._forwards[number][1], (kind,), words)

    def _refuse(self, place: Place, keys: tuple, expected: str) -> None:
        source, location = place
        self._problems.append(source.problem((*location, *keys), expected))

    def _tell(self, source: Source, key: tuple, start: int, error: ValidationError) -> None:
        for detail in error.errors():
            location = list(detail["loc"])
            if key == ("subscribers",):
                location[0] += start  # type: ignore[operator]
            found = "" if detail["type"] == "missing" else repr(detail.get("input"))[:80]
            expected = _words(detail)
            if detail["type"] == "extra_forbidden":
                found = ""
            location = [part for part in location if part != "[key]"]
            self._problems.append(source.problem((*key, *location), expected, found))


def _words(detail: Any) -> str:
    """What was expected, for people."""
    if detail["type"] == "extra_forbidden":
        return "no such key"
    if detail["type"] == "string_type" and isinstance(detail.get("input"), int):
        return "a quoted number expected: YAML drops leading zeros"
    if detail["type"] == "string_pattern_mismatch":
        return WORDS.get(detail["ctx"]["pattern"], detail["msg"])
    return detail["msg"]


def _joined(names: Iterable[str] | None) -> str:
    if names is None:
        return ""
    return ",".join(sorted(set(names))) or NONE
