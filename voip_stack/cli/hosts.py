"""What several commands need: the deployment's provider, and a host name that exists."""

from __future__ import annotations

from typing import TYPE_CHECKING

from voip_stack import paths
from voip_stack.problem import Problem

if TYPE_CHECKING:
    from voip_stack.pillar import Pillar
    from voip_stack.providers.base import Provider


def pillar() -> Pillar:
    from voip_stack.pillar import load

    return load(paths.pillar_dir())


def provider_of(name: str | None = None) -> Provider:
    """The provider that this checkout was deployed with, else the one detected."""
    from voip_stack import providers

    return providers.deployed(pillar(), name)


def require_host(host: str) -> None:
    """Problem that lists the hosts unless `host` is one."""
    known = list(pillar().hosts)
    if host not in known:
        raise Problem(
            f"There is no host {host}", "pillar/topology.yaml", f"one of {', '.join(known)}"
        )
