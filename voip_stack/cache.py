"""What is costly to make, kept by the content of what it was made from.

An entry is a directory `<root>/<kind>/<key>`. It is made under a temporary name and renamed into
place when whole, so a half-finished one is never seen. Several checkouts may share a cache: each
entry has a lock. Losing the cache costs time, nothing else: what runs is always a copy.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from voip_stack import paths
from voip_stack.locked import locked

PARTIAL = ".partial-"


def digest(*parts: str | bytes | Path) -> str:
    """Sixteen hex digits of SHA-256 over `parts` in order; a Path stands for its content."""
    total = hashlib.sha256()
    for part in parts:
        data = part.read_bytes() if isinstance(part, Path) else part
        data = data.encode() if isinstance(data, str) else data
        # The length keeps ("ab", "c") and ("a", "bc") apart.
        total.update(f"{len(data)}:".encode() + data)
    return total.hexdigest()[:16]


class Cache:
    """A directory of entries; made when the first one is."""

    def __init__(self, root: Path | None = None):
        self.root = root or paths.cache_dir()

    def path(self, kind: str, key: str) -> Path:
        return self.root / kind / key

    def has(self, kind: str, key: str) -> bool:
        return self.path(kind, key).is_dir()

    def entry(self, kind: str, key: str, make: Callable[[Path], object]) -> Path:
        """The directory of `key`, made by `make(directory)` unless it exists.

        Whatever `make` raises is passed on, and nothing of its work stays.
        """
        final = self.path(kind, key)
        if final.is_dir():
            os.utime(final)  # for prune
            return final
        with self.lock(f"{kind}-{key}"):
            if final.is_dir():  # another process was quicker
                return final
            partial = final.with_name(f"{PARTIAL}{key}")
            remove(partial)  # left by a run that was killed: the lock says nobody works on it
            partial.mkdir(parents=True)
            try:
                make(partial)
                partial.rename(final)
            except BaseException:
                remove(partial)
                raise
        return final

    def prune(self, kind: str, days: float) -> list[str]:
        """Remove the entries of `kind` that nobody asked for in `days`. Returns their keys."""
        now, gone = time.time(), []
        for path in sorted((self.root / kind).glob("*")):
            key = path.name.removeprefix(PARTIAL)
            # Half of an entry whose maker was killed: nobody works on one for a day.
            allowed = days if key == path.name else 1
            if now - path.stat().st_mtime < allowed * 86400:
                continue
            with self.lock(f"{kind}-{key}"):
                if path.is_dir() and now - path.stat().st_mtime > allowed * 86400:
                    remove(path)
                    gone.append(key)
        return gone

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Held by one process of this machine at a time."""
        with locked(self.root / "locks" / name):
            yield


def remove(directory: Path) -> None:
    """Delete a tree that may be gone already. Refuses one with something mounted below it."""
    if not directory.exists():
        return
    prefix = f"{directory.resolve()}{os.sep}"
    for target in _mounts():
        if target.startswith(prefix):
            raise OSError(f"{target} is mounted inside {directory}")
    # Several times as quick as shutil.rmtree for a guest's twenty thousand files.
    done = subprocess.run(
        ["rm", "-rf", "--one-file-system", "--", str(directory)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise OSError(done.stderr.strip()[-300:])


def _mounts() -> list[str]:
    try:
        lines = Path("/proc/self/mounts").read_text().splitlines()
    except FileNotFoundError:  # no Linux
        return []
    return [line.split()[1].encode().decode("unicode_escape") for line in lines]
