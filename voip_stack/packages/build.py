"""Build Debian packages from a source tree in a clean chroot: what backport and tarball share."""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from voip_stack.cache import Cache
from voip_stack.packages import chroot
from voip_stack.packages.mirror import Mirror, host_mirror
from voip_stack.packages.recipe import Recipe, RecipeError, apply
from voip_stack.problem import Problem

# Changes the cache key of everything that is built: raise when the builder itself changes.
BUILDER_REVISION = 1
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Target:
    """What to build for, and where. suite, arch: of the guests. logs: directory of build logs."""

    suite: str
    arch: str
    cache: Cache
    logs: Path
    progress: Progress

    def log(self, component: str) -> Path:
        return self.logs / f"build-{component}-{self.suite}-{self.arch}.log"


def build_packages(
    component: str,
    recipe: Recipe,
    target: Target,
    unpack: Callable[[Path, chroot.Chroot, Mirror], Path],
    output: Path,
) -> None:
    """Make the .deb files of one component in the directory `output`.

    unpack: puts the source below the directory it gets (/build inside the chroot) and returns the
    tree. Raises Problem naming the build log.
    """
    started = time.monotonic()
    log = target.log(component)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes(b"")
    mirror = host_mirror()
    target.progress(f"{component}: preparing a {target.suite} build system")
    base = chroot.base(target.cache, target.suite, target.arch, mirror, log)
    with tempfile.TemporaryDirectory(prefix="build-", dir=output) as work:
        system = chroot.Chroot(base, Path(work), log)
        target.progress(f"{component}: fetching the source")
        tree = unpack(Path(work) / "build", system, mirror)
        try:
            version = apply(recipe, tree, target.suite)
        except RecipeError as error:
            raise Problem(
                f"The recipe of {component} does not fit its source: {error}",
                where=f"voip_stack/packages/recipes/{component}.yaml",
            ) from error
        inside = "/build/" + str(tree.relative_to(Path(work) / "build"))
        target.progress(f"{component} {version}: installing build dependencies")
        _install_dependencies(system, component, inside)
        _build(system, component, inside, _reporter(target, f"{component} {version}: building"))
        for deb in sorted(tree.parent.glob("*.deb")):
            shutil.move(deb, output / deb.name)
            os.chown(output / deb.name, 0, 0)  # the builder's number is somebody else's here
    if not any(output.glob("*.deb")):
        raise Problem(f"Building {component} made no packages", where=f"full log: {log}")
    target.progress(f"{component} {version}: built in {time.monotonic() - started:.0f} s")


def _install_dependencies(system: chroot.Chroot, component: str, tree: str) -> None:
    # The cached base has package lists of the day it was made; refreshing takes a second.
    system.run(
        "apt-get update -q && cd " + shlex.quote(tree) + " && "
        "eatmydata apt-get -y -q --no-install-recommends build-dep ./ && "
        f"chown -R {chroot.BUILDER}: /build",
        f"Installing the build dependencies of {component}",
    )


def _reporter(target: Target, text: str) -> Callable[[], None]:
    """Says `text` now, and with the time it has taken each time it is called."""
    started = time.monotonic()
    target.progress(text)
    return lambda: target.progress(f"{text} ({time.monotonic() - started:.0f} s)")


def _build(system: chroot.Chroot, component: str, tree: str, tick: Callable[[], None]) -> None:
    # No debug information: it is a fifth of the compile time, and the dbgsym packages go unused.
    options = f"nocheck nodoc noautodbgsym parallel={os.cpu_count() or 1}"
    system.run(
        f"cd {shlex.quote(tree)} && eatmydata dpkg-buildpackage -b -us -uc",
        f"Building {component}",
        user=chroot.BUILDER,
        network=False,
        env={
            "DEB_BUILD_OPTIONS": options,
            "DEB_BUILD_PROFILES": "nocheck nodoc",
            "DEB_CFLAGS_APPEND": "-g0",
            "DEB_CXXFLAGS_APPEND": "-g0",
        },
        tick=tick,
    )
