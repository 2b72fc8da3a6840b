"""A YAML file of the pillar: read strictly, and the line of any value in it."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from voip_stack.pillar.problems import PillarError, PillarProblem


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


class Document:
    """One file. name: as problems call it. content: its top-level keys.

    Raises PillarError for what is no YAML, or no mapping.
    """

    def __init__(self, name: str, data: bytes):
        self.name = name
        self._data = data
        self.content = self._parsed()

    @classmethod
    def of(cls, path: Path, directory: Path) -> Document:
        return cls(str(path.relative_to(directory)), path.read_bytes())

    def line(self, keys: tuple) -> int:
        """Line of a value by its key path, or of the nearest value around it; 0 without any."""
        node = self._node
        line = node.start_mark.line + 1 if node else 0
        for key in keys:
            found = _child(node, key)
            if found is None:
                break
            line, node = found
        return line

    @cached_property
    def _node(self) -> Any:
        return yaml.compose(self._data, Loader=yaml.CSafeLoader)

    def _parsed(self) -> dict[str, Any]:
        try:
            content = yaml.load(self._data, Loader=_Loader)  # noqa: S506 - a safe loader
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            text = getattr(error, "problem", None) or "valid YAML expected"
            problem = PillarProblem(self.name, mark.line + 1 if mark else 0, "", text)
            raise PillarError([problem]) from error
        if content is None:
            return {}
        if not isinstance(content, dict):
            found = type(content).__name__
            problem = PillarProblem(self.name, 1, "", "a mapping of keys expected", found)
            raise PillarError([problem])
        return content


def _child(node: Any, key: Any) -> tuple[int, Any] | None:
    if isinstance(node, yaml.MappingNode):
        for key_node, value_node in node.value:
            if key_node.value == str(key):
                return key_node.start_mark.line + 1, value_node
    elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        child = node.value[key]
        return child.start_mark.line + 1, child
    return None
