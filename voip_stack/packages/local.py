"""A directory of .deb files: air-gapped sites, and packages that no archive has.

The directory holds the files themselves, or one folder per release and architecture
(bookworm-amd64/). Pillar `packages.local_dir` names it; VOIP_LOCAL_DEBS overrides.
"""

from __future__ import annotations

import os
from pathlib import Path

from voip_stack.packages.repository import BadPackage, Deb, closure, newest, read_all
from voip_stack.packages.version import compare


def directory(setting: str | None, suite: str, arch: str) -> Path | None:
    """Where the packages for a release are; None when no directory is set."""
    chosen = os.environ.get("VOIP_LOCAL_DEBS") or setting
    if not chosen:
        return None
    path = Path(chosen).expanduser()
    folder = path / f"{suite}-{arch}"
    return folder if folder.is_dir() else path


def find(path: Path, wanted: list[str], arch: str) -> dict[str, Deb]:
    """The newest of each wanted package in the directory, with what it needs from there.

    Raises BadPackage for a file that is not one; FileNotFoundError when the directory is missing.
    """
    if not path.is_dir():
        raise FileNotFoundError(f"{path} is not a directory")
    return closure(wanted, newest(read_all(path, arch), compare))


def unavailable(path: Path | None, wanted: list[str], arch: str) -> str | None:
    """Why the directory does not provide a component; None when it does.

    The first wanted package must be there: the others may be Debian's.
    """
    if path is None:
        return "no local package directory is set"
    try:
        found = find(path, wanted, arch)
    except (BadPackage, OSError) as error:
        return str(error)
    return None if wanted[0] in found else f"{path} has no {wanted[0]} for {arch}"
