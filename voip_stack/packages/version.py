"""Debian version order on the control host: the same code as on the minions (_utils)."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

from voip_stack import paths


def _load() -> Any:
    path = paths.CHECKOUT / "_utils" / "voip_version.py"
    spec = importlib.util.spec_from_file_location("voip_version", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_module = _load()
compare: Callable[[str, str], int] = _module.compare
refusal: Callable[[str, str, dict], str | None] = _module.refusal
