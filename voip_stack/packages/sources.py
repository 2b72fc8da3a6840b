"""The package sources behind one interface: can it provide a component, and provide it."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voip_stack.packages import backport, chroot, local, recipe, tarball, vendor
from voip_stack.packages.build import BUILDER_REVISION, Target
from voip_stack.packages.repository import Deb, closure, newest, read_all
from voip_stack.packages.version import compare
from voip_stack.pillar.packages import ComponentPackages


@dataclass(frozen=True)
class Request:
    """One component to provide. floor: {minimum, safe, why, …} of pillar `versions`."""

    component: str
    wanted: ComponentPackages
    floor: dict[str, Any]
    local_dir: str | None = None


class PackageSource(ABC):
    """One way to get a component's packages."""

    name: str

    @abstractmethod
    def unavailable(self, request: Request, target: Target) -> str | None:
        """Why this source cannot provide the component on this host; None when it can."""

    @abstractmethod
    def fetch(self, request: Request, target: Target) -> dict[str, Deb] | None:
        """The packages, by name. None when the hosts fetch them from an archive themselves."""


class DebianSource(PackageSource):
    name = "debian"

    def unavailable(self, request: Request, target: Target) -> str | None:
        return None

    def fetch(self, request: Request, target: Target) -> dict[str, Deb] | None:
        return None


class LocalSource(PackageSource):
    name = "local"

    def unavailable(self, request: Request, target: Target) -> str | None:
        path = local.directory(request.local_dir, target.suite, target.arch)
        return local.unavailable(path, request.wanted.install, target.arch)

    def fetch(self, request: Request, target: Target) -> dict[str, Deb] | None:
        path = local.directory(request.local_dir, target.suite, target.arch)
        assert path is not None  # noqa: S101 - unavailable() said so otherwise
        return local.find(path, request.wanted.install, target.arch)


class VendorSource(PackageSource):
    name = "vendor"

    def unavailable(self, request: Request, target: Target) -> str | None:
        if request.wanted.vendor is None:
            return "pillar declares no vendor repository"
        return vendor.unavailable(request.wanted.vendor)

    def fetch(self, request: Request, target: Target) -> dict[str, Deb] | None:
        return None


class BuiltSource(PackageSource):
    """What is built here once and then comes from the cache."""

    def unavailable(self, request: Request, target: Target) -> str | None:
        if not (recipe.RECIPES / f"{request.component}.yaml").is_file():
            return f"there is no recipe voip_stack/packages/recipes/{request.component}.yaml"
        return None if self.cached(request, target) else chroot.unavailable()

    def cached(self, request: Request, target: Target) -> bool:
        return target.cache.has("packages", self.key(request, target))

    def key(self, request: Request, target: Target) -> str:
        """Content hash of what decides the result: recipe, release, and the lowest safe version,
        so that raising that one in the pillar builds a newer source."""
        content = {
            "builder": BUILDER_REVISION,
            "source": self.name,
            "recipe": recipe.load(request.component).content(),
            "tarball": request.wanted.tarball and request.wanted.tarball.sha256,
            "safe": request.floor.get("safe"),
            "suite": target.suite,
            "arch": target.arch,
        }
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        return f"{request.component}-{target.suite}-{target.arch}-{digest[:16]}"

    def fetch(self, request: Request, target: Target) -> dict[str, Deb] | None:
        directory = target.cache.entry(
            "packages",
            self.key(request, target),
            lambda output: self.build(request, target, output),
        )
        return closure(request.wanted.install, newest(read_all(directory, target.arch), compare))

    @abstractmethod
    def build(self, request: Request, target: Target, output: Path) -> None: ...


class BackportSource(BuiltSource):
    name = "backport"

    def build(self, request: Request, target: Target, output: Path) -> None:
        backport.build(request.component, recipe.load(request.component), target, output)


class TarballSource(BuiltSource):
    name = "source"

    def unavailable(self, request: Request, target: Target) -> str | None:
        wanted = request.wanted.tarball
        if wanted is None:
            return "pillar declares no tarball"
        if not wanted.url and not tarball.local_copy(wanted) and not self.cached(request, target):
            return f"{wanted.name} has no URL and is not in VOIP_LOCAL_SOURCES"
        return super().unavailable(request, target)

    def build(self, request: Request, target: Target, output: Path) -> None:
        assert request.wanted.tarball is not None  # noqa: S101 - unavailable() said so otherwise
        tarball.build(
            request.component,
            recipe.load(request.component),
            request.wanted.tarball,
            target,
            output,
        )


SOURCES: dict[str, PackageSource] = {
    source.name: source
    for source in (
        DebianSource(), LocalSource(), VendorSource(), BackportSource(), TarballSource()
    )
}  # fmt: skip
