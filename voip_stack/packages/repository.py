"""A directory of .deb files as an apt repository: Packages and Release, without dpkg on the host.

Reads .deb files itself (an ar archive with a control.tar inside), so a local package directory
works on a Mac too.
"""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_AR_MAGIC = b"!<arch>\n"
_AR_HEADER = 60


class BadPackage(Exception):
    """A file is not a Debian package."""


@dataclass(frozen=True)
class Deb:
    """One .deb file and its control paragraph."""

    path: Path
    control: str

    def field(self, name: str) -> str:
        """A field's value with continuation lines joined; "" when absent."""
        found = re.search(rf"^{name}:[ \t]*(.*(?:\n[ \t].*)*)", self.control, re.MULTILINE)
        return " ".join(found[1].split()) if found else ""

    @property
    def name(self) -> str:
        return self.field("Package")

    @property
    def version(self) -> str:
        return self.field("Version")


def read_deb(path: Path) -> Deb:
    """Raises BadPackage."""
    with path.open("rb") as archive:
        if archive.read(len(_AR_MAGIC)) != _AR_MAGIC:
            raise BadPackage(f"{path.name} is not a Debian package")
        while header := archive.read(_AR_HEADER):
            name, size = header[:16].decode().strip().rstrip("/"), int(header[48:58])
            if name.startswith("control.tar"):
                return Deb(path, _control(archive.read(size), path))
            archive.seek(size + size % 2, io.SEEK_CUR)
    raise BadPackage(f"{path.name} has no control archive")


def _control(data: bytes, path: Path) -> str:
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for member in archive:
                if member.name in ("./control", "control"):
                    content = archive.extractfile(member)
                    if content is not None:
                        return content.read().decode().strip("\n")
    except tarfile.TarError as error:
        # Ubuntu compresses with zstd, which Python 3.11 cannot read; Debian uses xz.
        raise BadPackage(f"{path.name}: its control archive is not readable ({error})") from error
    raise BadPackage(f"{path.name} has no control file")


def read_all(directory: Path, arch: str) -> list[Deb]:
    """The packages in `directory` that fit an architecture."""
    debs = [read_deb(path) for path in sorted(directory.glob("*.deb"))]
    return [deb for deb in debs if deb.field("Architecture") in (arch, "all")]


def newest(debs: list[Deb], compare: Callable[[str, str], int]) -> dict[str, Deb]:
    """name -> the package of the highest version. compare(a, b) -> negative, 0, positive."""
    found: dict[str, Deb] = {}
    for deb in debs:
        known = found.get(deb.name)
        if known is None or compare(deb.version, known.version) > 0:
            found[deb.name] = deb
    return found


def closure(wanted: list[str], available: dict[str, Deb]) -> dict[str, Deb]:
    """`wanted` and what they depend on, as far as `available` has it: the rest is Debian's."""
    found: dict[str, Deb] = {}
    queue = [name for name in wanted if name in available]
    while queue:
        name = queue.pop()
        if name in found:
            continue
        deb = found[name] = available[name]
        relations = f"{deb.field('Pre-Depends')},{deb.field('Depends')}"
        names = re.split(r"[,|]", re.sub(r"\([^)]*\)|\[[^]]*\]|:any", "", relations))
        queue += [item.strip() for item in names if item.strip() in available]
    return found


def write_index(directory: Path) -> None:
    """Write Packages and Release of the .deb files in `directory` (a flat repository)."""
    paragraphs = []
    for path in sorted(directory.glob("*.deb")):
        with path.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        paragraphs.append(
            f"{read_deb(path).control}\nFilename: ./{path.name}\n"
            f"Size: {path.stat().st_size}\nSHA256: {digest}\n"
        )
    packages = "\n".join(paragraphs).encode()
    (directory / "Packages").write_bytes(packages)
    digest = hashlib.sha256(packages).hexdigest()
    (directory / "Release").write_text(
        f"Origin: voip-stack\nLabel: voip-stack\nSHA256:\n {digest} {len(packages)} Packages\n"
    )
