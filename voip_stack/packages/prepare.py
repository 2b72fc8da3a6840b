"""Make the packages of a deployment ready: resolve every component, serve the result to Salt."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from voip_stack import paths
from voip_stack.cache import Cache
from voip_stack.packages.build import Target
from voip_stack.packages.chroot import RUNNING
from voip_stack.packages.repository import write_index
from voip_stack.packages.resolve import Choice, resolve
from voip_stack.packages.sources import Request
from voip_stack.pillar.schema import Pillar
from voip_stack.problem import Problem
from voip_stack.webphone import library


def packages_dir() -> Path:
    """Root of the saltenv `packages`: <suite>-<arch>/<component>/ with .deb files and an index."""
    return paths.state_dir() / "packages"


def prepare(
    pillar: Pillar,
    arch: str,
    cache: Cache,
    progress: Callable[[str], None],
    components: Iterable[str] | None = None,
) -> dict[str, Choice]:
    """Choose, fetch or build every component's packages; fill packages_dir().

    arch: Debian's name of the guests' architecture (amd64, arm64). components: default all that
    the pillar's hosts run. Returns component -> Choice; one that is not available has source None
    and does not stop the others. Record `{name: choice.facts()}` as deployment.json's `packages`.
    Thread-safe: may run while the guests start.
    """
    wanted = _wanted(pillar, components)
    targets = {
        suite: Target(suite, arch, cache, paths.logs_dir(), progress)
        for suite in set(wanted.values())
    }
    RUNNING.reset()
    # Two at once: while one configures, which uses one processor, the other compiles.
    with ThreadPoolExecutor(max_workers=2, thread_name_prefix="packages") as pool:
        try:
            futures = {
                name: pool.submit(resolve, request(pillar, name), targets[suite])
                for name, suite in wanted.items()
            }
            choices = {name: future.result() for name, future in futures.items()}
        except BaseException:  # Ctrl-C above all: end the builds, do not wait for them
            RUNNING.stop()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    _with_library(pillar, choices, cache)
    for choice in choices.values():
        progress(str(choice))
        publish(choice, packages_dir())
    return choices


def _with_library(pillar: Pillar, choices: dict[str, Choice], cache: Cache) -> None:
    """Put the web phone's library where Salt serves it. Without it there is no web phone."""
    choice = choices.get("webphone")
    if choice is None or choice.source is None:
        return
    try:
        script = library.ensure(pillar.webphone.library, cache)
    except Problem as problem:
        choice.source = None
        choice.tried.append({"source": "library", "result": str(problem)})
        return
    directory = packages_dir() / "webphone"
    directory.mkdir(parents=True, exist_ok=True)
    shutil.copy2(script, directory / script.name)


def request(pillar: Pillar, component: str) -> Request:
    """What pillar says about one component's packages."""
    floor: dict[str, Any] = {}
    if component in pillar.versions:
        floor = pillar.versions[component].model_dump()
    wanted = pillar.packages.components[component]
    return Request(component, wanted, floor, pillar.packages.local_dir)


def publish(choice: Choice, root: Path) -> Path:
    """Put a component's packages where Salt serves them; none are left of an earlier choice."""
    directory = root / f"{choice.suite}-{choice.arch}" / choice.component
    if not choice.debs:
        shutil.rmtree(directory, ignore_errors=True)
        return directory
    fresh = directory.with_name(f".{choice.component}.{os.getpid()}")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for deb in choice.debs.values():
        _link(deb.path, fresh / deb.path.name)
    write_index(fresh)
    shutil.rmtree(directory, ignore_errors=True)
    fresh.rename(directory)
    return directory


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


def _wanted(pillar: Pillar, components: Iterable[str] | None) -> dict[str, str]:
    """component -> release of the host that runs it, the slowest to build first."""
    chosen = set(components) if components is not None else None
    found: dict[str, str] = {}
    for name in pillar.minions():
        for component in pillar.components_of(name):
            known = component in pillar.packages.components
            if known and (chosen is None or component in chosen):
                found.setdefault(component, pillar.hosts[name].os)

    def is_built(component: str) -> bool:
        return bool({"backport", "source"} & set(pillar.packages.components[component].sources))

    return dict(sorted(found.items(), key=lambda item: not is_built(item[0])))
