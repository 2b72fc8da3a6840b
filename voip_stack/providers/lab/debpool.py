"""Debian packages that a guest downloaded once: kept in the cache, given to the next lab's guest.

apt checks each against the signed index before it uses it, so a damaged or planted file is
downloaded again, not installed.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from voip_stack.cache import Cache

ARCHIVES = "var/cache/apt/archives"


def _pool(cache: Cache, suite: str) -> Path:
    return cache.root / "debs" / suite


def seed(cache: Cache, suite: str, host: str, root: Path) -> int:
    """Copy what `host` had last time into a fresh guest. Returns how many."""
    pool = _pool(cache, suite)
    try:
        names = (pool / f"{host}.list").read_text().split()
    except FileNotFoundError:
        return 0
    target = root / ARCHIVES
    target.mkdir(parents=True, exist_ok=True)
    count = 0
    for name in names:
        source = pool / Path(name).name
        if source.is_file():
            shutil.copyfile(source, target / source.name)
            count += 1
    return count


def collect(cache: Cache, suite: str, host: str, root: Path) -> int:
    """Keep what `host` downloaded. Returns how many are new in the pool."""
    archives = root / ARCHIVES
    if not archives.is_dir() or not archives.resolve().is_relative_to(root.resolve()):
        return 0
    found = [
        entry
        for entry in os.scandir(archives)
        if entry.name.endswith(".deb") and entry.is_file(follow_symlinks=False)
    ]
    if not found:
        return 0
    pool = _pool(cache, suite)
    new = 0
    with cache.lock(f"debs-{suite}"):
        pool.mkdir(parents=True, exist_ok=True)
        for entry in found:
            final = pool / entry.name
            if final.is_file() and final.stat().st_size == entry.stat().st_size:
                continue
            _copy(Path(entry.path), final)
            new += 1
        _write(
            pool / f"{host}.list", "".join(f"{name}\n" for name in sorted(e.name for e in found))
        )
    return new


def _copy(source: Path, final: Path) -> None:
    partial = final.with_name(f".partial-{final.name}")
    shutil.copyfile(source, partial, follow_symlinks=False)
    partial.replace(final)


def _write(file: Path, text: str) -> None:
    partial = file.with_name(f".partial-{file.name}")
    partial.write_text(text)
    partial.replace(file)
