"""What was compiled before, by the content of the files: each content is compiled once.

Every process of the master reads the result, a few MB, instead of validating for itself.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path

from voip_stack import deployment
from voip_stack.locked import locked
from voip_stack.subscribers.directory import Directory

# The one that hosts have, and the one that is about to replace it.
_KEPT = 2


def key(
    directory: Path,
    contents: dict[Path, bytes],
    domain: str | None,
    destinations: frozenset[str] | None,
) -> str:
    """Of everything that the result depends on: the code that validates too."""
    digest = hashlib.sha256(_code())
    digest.update(json.dumps([domain, sorted(destinations or []), destinations is None]).encode())
    for path, data in sorted(contents.items()):
        name = str(path.relative_to(directory)).encode()
        digest.update(b"%d:%s%d:" % (len(name), name, len(data)))
        digest.update(data)
    return digest.hexdigest()


def turn(folder: Path) -> AbstractContextManager[bool]:
    """One process compiles, the others wait for its result."""
    return locked(folder / "lock")


def read(folder: Path, name: str) -> Directory | None:
    try:
        return Directory(json.loads((folder / f"{name}.json").read_text()))
    except (FileNotFoundError, ValueError, KeyError):
        return None


def write(folder: Path, name: str, known: Directory) -> None:
    deployment.write_atomic(folder / f"{name}.json", json.dumps(known.as_dict()), 0o600)
    kept = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for path in kept[_KEPT:]:
        path.unlink(missing_ok=True)


@cache
def _code() -> bytes:
    parts = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in parts)).digest()
