"""Read every file of the pillar, merge them, validate, and say where a bad value stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from voip_stack import paths, subscribers
from voip_stack.pillar import toll
from voip_stack.pillar.documents import Document
from voip_stack.pillar.problems import PillarError, PillarProblem
from voip_stack.pillar.schema import Pillar


def files(directory: Path) -> list[Path]:
    """Every file of the pillar, sorted; subscribers' are YAML and CSV."""
    return sorted([*_documents(directory), *subscribers.files(directory)])


def _documents(directory: Path) -> list[Path]:
    own = set(subscribers.files(directory))
    found = (path for path in directory.rglob("*.yaml") if not path.name.startswith("."))
    return sorted(path for path in found if path not in own)


# (paths and times of the files, what they hold), by directory.
_current: dict[Path, tuple[tuple, Pillar]] = {}


def current(directory: Path) -> Pillar:
    """As `load`, but parsed again only when a file has changed: 100 ms that a master's process
    would spend at each refresh and event."""
    stamp = tuple((str(path), path.stat().st_mtime_ns) for path in files(directory))
    known = _current.get(directory)
    if known is None or known[0] != stamp:
        known = _current[directory] = (stamp, load(directory))
    return known[1]


def load(directory: Path | str, replaced: dict[Path, bytes] | None = None) -> Pillar:
    """Read and validate the pillar in `directory`.

    replaced: content of subscribers' files in place of what is on disk, to try an edit.
    Returns the Pillar model. Raises PillarError with every problem at once: file, line, key,
    what was expected and what was found.
    """
    directory = Path(directory)
    if not directory.is_dir():
        problem = PillarProblem(str(directory), 0, "", "the pillar directory does not exist")
        raise PillarError([problem])
    merged, homes, problems = _merge(directory)
    is_whole = not problems
    known = subscribers.EMPTY
    try:
        site = merged.get("site")
        domain = site.get("domain") if isinstance(site, dict) else None
        known = subscribers.compiled(
            directory, domain, _cache(directory), replaced, toll.names(merged.get("toll"))
        )
    except PillarError as error:
        problems += error.problems
    try:
        pillar = Pillar.model_validate(merged | {"subscribers": known})
    except ValidationError as error:
        # What an unreadable file would have held is not missing.
        problems += [_problem(item, homes) for item in error.errors()] if is_whole else []
    if problems:
        raise PillarError(problems)
    return pillar


def _cache(directory: Path) -> Path | None:
    """Where compiled subscribers are kept: of the checkout's own pillar, in its state directory."""
    return paths.state_dir() / "subscribers" if directory == paths.pillar_dir() else None


def _merge(
    directory: Path,
) -> tuple[dict[str, Any], dict[str, Document], list[PillarProblem]]:
    """Every document's keys, the document of each key, and what is wrong with reading them."""
    merged: dict[str, Any] = {}
    homes: dict[str, Document] = {}
    problems: list[PillarProblem] = []
    for path in _documents(directory):
        try:
            document = Document.of(path, directory)
        except PillarError as error:
            problems += error.problems
            continue
        for key, value in document.content.items():
            if key in merged:
                where = f"given already in pillar/{homes[key].name}"
                problems.append(PillarProblem(document.name, document.line((key,)), key, where))
            elif key == "subscribers":
                where = "no subscribers expected here: pillar/subscribers/ is their place"
                problems.append(PillarProblem(document.name, document.line((key,)), key, where))
            else:
                merged[key] = value
                homes[key] = document
    return merged, homes, problems


def _problem(detail: Any, homes: dict[str, Document]) -> PillarProblem:
    # Whole-model checks raise PillarValueError, which carries the place.
    context = detail.get("ctx", {}).get("error")
    location = tuple(getattr(context, "location", ()) or detail["loc"])
    home = homes.get(location[0]) if location else None
    found = "" if detail["type"] in ("missing", "value_error") else repr(detail.get("input"))
    key = ".".join(str(part) for part in location)
    expected = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "extra_forbidden":
        expected, found = "no such key", ""
    file = home.name if home else _likely_file(location)
    return PillarProblem(file, home.line(location) if home else 0, key, expected, found[:80])


def _likely_file(location: tuple) -> str:
    # A top-level key that no file has: name the file where it belongs.
    homes = {
        "site": "topology.yaml", "networks": "topology.yaml", "hosts": "topology.yaml",
        "roles": "topology.yaml", "routing": "policies.yaml",
    }  # fmt: skip
    top = str(location[0]) if location else ""
    return homes.get(top, f"{top}.yaml" if top else ".")
