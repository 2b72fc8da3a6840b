"""A project's release tarball, built with the Debian packaging in its own tree.

Where it comes from: a URL with its checksum, or a file in a local directory of sources.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import urllib.error
import urllib.request
from pathlib import Path

from voip_stack.packages.build import Target, build_packages
from voip_stack.packages.chroot import Chroot
from voip_stack.packages.mirror import Mirror
from voip_stack.packages.recipe import Recipe
from voip_stack.pillar.packages import Tarball
from voip_stack.problem import Problem

_TIMEOUT_S = 60


def local_copy(tarball: Tarball) -> Path | None:
    """The tarball in the directory of VOIP_LOCAL_SOURCES, where that has it."""
    directory = os.environ.get("VOIP_LOCAL_SOURCES")
    path = Path(directory) / tarball.name if directory else None
    return path if path and path.is_file() else None


def build(component: str, recipe: Recipe, tarball: Tarball, target: Target, output: Path) -> None:
    """Fetch, verify, unpack, change and build. The .deb files go into `output`."""

    def unpack(directory: Path, system: Chroot, mirror: Mirror) -> Path:
        archive = directory / tarball.name
        fetch(tarball, archive)
        system.run(
            f"cd /build && mkdir source && tar -xf {shlex.quote(archive.name)} -C source "
            "--strip-components=1 && mkdir -p source/debian",
            f"Unpacking the source of {component}",
        )
        return directory / "source"

    build_packages(component, recipe, target, unpack, output)


def fetch(tarball: Tarball, path: Path) -> None:
    """Copy or download the tarball to `path`. Raises Problem when it is not the one expected."""
    local = local_copy(tarball)
    if local:
        shutil.copyfile(local, path)
    elif tarball.url:
        try:
            with (
                urllib.request.urlopen(tarball.url, timeout=_TIMEOUT_S) as answer,  # noqa: S310
                path.open("wb") as output,
            ):
                shutil.copyfileobj(answer, output)
        except (urllib.error.URLError, OSError) as error:
            raise Problem(
                f"{tarball.name} could not be downloaded: {error}", tarball.url
            ) from error
    else:
        raise Problem(f"{tarball.name} is in no directory, and no URL is given for it")
    with path.open("rb") as archive:
        found = hashlib.file_digest(archive, "sha256").hexdigest()
    if found != tarball.sha256:
        raise Problem(
            f"{tarball.name} has SHA-256 {found}, pillar expects {tarball.sha256}",
            where=str(local or tarball.url),
            how="do not use it; take the file again from the project, or correct the pillar",
        )
