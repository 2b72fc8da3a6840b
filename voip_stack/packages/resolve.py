"""Choose a source for a component: the first of its list that works; record the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from voip_stack.packages.build import Target
from voip_stack.packages.repository import Deb
from voip_stack.packages.sources import SOURCES, PackageSource, Request
from voip_stack.packages.version import refusal
from voip_stack.problem import Problem


@dataclass
class Choice:
    """Where a component comes from. source is None when none of its sources works.

    version: known here for packages made or found on this host; empty where the host asks its
    archive. tried: [{source, result}], in order, the chosen one last.
    """

    component: str
    suite: str
    arch: str
    source: str | None = None
    version: str = ""
    tried: list[dict[str, str]] = field(default_factory=list)
    debs: dict[str, Deb] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """What deployment.json records and the host's pillar carries."""
        return {
            "source": self.source,
            "suite": self.suite,
            "arch": self.arch,
            "version": self.version,
            "tried": self.tried,
            "debs": {name: deb.version for name, deb in sorted(self.debs.items())},
        }

    def __str__(self) -> str:
        if self.source:
            return f"{self.component}: {self.source} {self.version}".rstrip()
        tried = "; ".join(f"{item['source']}: {item['result']}" for item in self.tried)
        return f"{self.component} is not available for {self.suite} {self.arch} (tried {tried})"


def resolve(
    request: Request, target: Target, sources: Mapping[str, PackageSource] = SOURCES
) -> Choice:
    """Try the request's sources in order. Never raises for a source that fails: the next is tried.

    A version below the floor is refused like a source that does not work.
    """
    choice = Choice(request.component, target.suite, target.arch)
    for name in request.wanted.sources:
        source = sources[name]
        result = source.unavailable(request, target)
        debs = None
        if result is None:
            try:
                debs = source.fetch(request, target)
            except Problem as error:
                result = str(error)
        first = debs.get(request.wanted.install[0]) if debs is not None else None
        if result is None and debs is not None:
            if first is None:
                result = f"no package {request.wanted.install[0]} came of it"
            else:
                result = refusal(request.component, first.version, request.floor)
        if result is not None:
            choice.tried.append({"source": name, "result": result})
            continue
        choice.source, choice.debs = name, debs or {}
        choice.version = first.version if first else ""
        choice.tried.append({"source": name, "result": "taken"})
        break
    return choice
