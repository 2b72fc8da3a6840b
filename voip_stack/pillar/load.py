"""Read every YAML file of the pillar, merge them, validate, and say where a bad value stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from voip_stack.pillar.problems import PillarError, PillarProblem
from voip_stack.pillar.schema import Pillar

# Top-level keys that several files may share: their lists are joined.
JOINED = ("subscribers",)


class _Loader(yaml.CSafeLoader):
    """Safe YAML that refuses a key given twice: PyYAML would silently keep the last."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict:
    mapping: dict = {}
    loader.flatten_mapping(node)
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in mapping:
            raise yaml.constructor.ConstructorError(
                None, None, f"key {key!r} appears twice", key_node.start_mark
            )
        mapping[key] = loader.construct_object(value_node, deep=True)
    return mapping


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def files(directory: Path) -> list[Path]:
    """Every YAML file of the pillar, sorted: components after the main files, then subscribers."""
    return sorted(path for path in directory.rglob("*.yaml") if not path.name.startswith("."))


def _read(path: Path, directory: Path) -> dict[str, Any]:
    name = str(path.relative_to(directory))
    try:
        content = yaml.load(path.read_bytes(), Loader=_Loader)  # noqa: S506 - a safe loader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        text = getattr(error, "problem", None) or "valid YAML expected"
        raise PillarError([PillarProblem(name, mark.line + 1 if mark else 0, "", text)]) from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        found = type(content).__name__
        raise PillarError([PillarProblem(name, 1, "", "a mapping of keys expected", found)])
    return content


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


class _Origins:
    """Which file, and which place in it, a merged value came from."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.file: dict[tuple, Path] = {}
        self.offset: dict[str, list[tuple[int, Path]]] = {}

    def locate(self, location: tuple) -> tuple[str, int]:
        """File and line of a value by its key path in the merged pillar."""
        path, keys = self._file_of(location)
        if path is None:
            return "", 0
        node = yaml.compose(path.read_text(), Loader=yaml.CSafeLoader)
        line = node.start_mark.line + 1 if node else 0
        for key in keys:
            found = _child(node, key)
            if found is None:
                break
            line, node = found
        return str(path.relative_to(self.directory)), line

    def _file_of(self, location: tuple) -> tuple[Path | None, tuple]:
        top = location[0] if location else None
        if top in self.offset and len(location) > 1 and isinstance(location[1], int):
            index = location[1]
            start, path = max(pair for pair in self.offset[top] if pair[0] <= index)
            return path, (top, index - start, *location[2:])
        return self.file.get((top,)), location


def _child(node: Any, key: Any) -> tuple[int, Any] | None:
    if isinstance(node, yaml.MappingNode):
        for key_node, value_node in node.value:
            if key_node.value == str(key):
                return key_node.start_mark.line + 1, value_node
    elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        child = node.value[key]
        return child.start_mark.line + 1, child
    return None


def _merge(directory: Path) -> tuple[dict[str, Any], _Origins]:
    merged: dict[str, Any] = {}
    origins = _Origins(directory)
    problems: list[PillarProblem] = []
    for path in files(directory):
        name = str(path.relative_to(directory))
        try:
            content = _read(path, directory)
        except PillarError as error:
            problems += error.problems
            continue
        for key, value in content.items():
            if key in JOINED and isinstance(value, list):
                entries = merged.setdefault(key, [])
                origins.offset.setdefault(key, []).append((len(entries), path))
                entries.extend(value)
            elif key in merged:
                first = origins.file[(key,)].relative_to(directory)
                problems.append(PillarProblem(name, 0, key, f"given already in pillar/{first}"))
            else:
                merged[key] = value
                origins.file[(key,)] = path
    if problems:
        raise PillarError(problems)
    return merged, origins


def load(directory: Path | str) -> Pillar:
    """Read and validate the pillar in `directory`.

    Returns the Pillar model. Raises PillarError with every problem at once: file, line, key,
    what was expected and what was found.
    """
    directory = Path(directory)
    if not directory.is_dir():
        problem = PillarProblem(str(directory), 0, "", "the pillar directory does not exist")
        raise PillarError([problem])
    merged, origins = _merge(directory)
    try:
        return Pillar.model_validate(merged)
    except ValidationError as error:
        raise PillarError([_problem(detail, origins) for detail in error.errors()]) from error


def _problem(detail: Any, origins: _Origins) -> PillarProblem:
    # Whole-model checks raise PillarValueError, which carries the place (see schema.refuse).
    context = detail.get("ctx", {}).get("error")
    location = tuple(getattr(context, "location", ()) or detail["loc"])
    file, line = origins.locate(location)
    found = "" if detail["type"] in ("missing", "value_error") else repr(detail.get("input"))
    key = ".".join(str(part) for part in location)
    expected = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "extra_forbidden":
        expected, found = "no such key", ""
    if not file:
        file = _likely_file(location)
    return PillarProblem(file, line, key, expected, found[:80])


def _likely_file(location: tuple) -> str:
    # A top-level key that no file has: name the file where it belongs.
    homes = {
        "site": "topology.yaml", "networks": "topology.yaml", "hosts": "topology.yaml",
        "roles": "topology.yaml", "routing": "policies.yaml", "subscribers": "subscribers/",
    }  # fmt: skip
    top = str(location[0]) if location else ""
    return homes.get(top, f"{top}.yaml" if top else ".")
