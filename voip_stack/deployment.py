"""`.voip/deployment.json`: what was found out while deploying, and what the pillar reads of it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from voip_stack import paths
from voip_stack.locked import locked


def read() -> dict[str, Any]:
    """The recorded facts; {} before the first deployment."""
    try:
        return json.loads(paths.deployment_file().read_text())
    except FileNotFoundError:
        return {}


def update(**facts: Any) -> dict[str, Any]:
    """Merge `facts` into the record, atomically; a None value removes its key. Returns all."""
    file = paths.deployment_file()
    with locked(file.with_suffix(".lock")):
        merged = {key: value for key, value in (read() | facts).items() if value is not None}
        write_atomic(file, json.dumps(merged, indent=2, sort_keys=True) + "\n")
    return merged


def write_atomic(file: Path, text: str, mode: int = 0o644) -> bool:
    """Replace `file` by `text` in one step. Returns False when it had that content already."""
    if file.exists() and file.read_text() == text:
        file.chmod(mode)
        return False
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
    os.chmod(temporary, mode)
    temporary.replace(file)
    return True
