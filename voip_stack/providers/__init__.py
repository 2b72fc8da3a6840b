"""Providers: what makes hosts. lab (one Linux machine), lima (Mac, Linux), hosts (real servers)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from voip_stack.problem import Problem

if TYPE_CHECKING:
    from voip_stack.pillar import Pillar
    from voip_stack.providers.base import Lab, Progress, Provider

# In the order in which they are tried. `hosts` is never detected: it is asked for.
NAMES = ("lab", "lima", "hosts")


def provider_class(name: str) -> type[Provider]:
    """The class of a provider by its name. Raises Problem for a name that is none."""
    if name not in NAMES:
        raise Problem(f"There is no provider {name}", "--provider", f"one of {', '.join(NAMES)}", 2)
    module = importlib.import_module(f"voip_stack.providers.{name}.provider")
    return module.PROVIDER


def get(name: str | None, pillar: Pillar) -> Provider:
    """The named provider, or the first one that this machine is right for."""
    if name is not None:
        return provider_class(name)(pillar)
    for candidate in ("lab", "lima"):
        found = provider_class(candidate)
        if found.detect():
            return found(pillar)
    raise Problem(
        "No provider works on this machine",
        "tried lab (Linux with apt, as root) and lima (limactl)",
        "run as root on Debian, install Lima (https://lima-vm.io), or --provider hosts",
        3,
    )


def deployed(pillar: Pillar, name: str | None = None) -> Provider:
    """The named provider, else the one this checkout was deployed with, else the detected one."""
    from voip_stack import deployment

    return get(name or deployment.read().get("provider"), pillar)


def labs_of_the_machine() -> list[Lab]:
    """Every lab of this machine, also those whose checkout is gone."""
    from voip_stack.providers.lab import registry, survey

    return [survey.summary(record) for record in registry.records()]


def destroy_lab(name: str, progress: Progress) -> None:
    """Remove a lab by the name that labs_of_the_machine gives."""
    from voip_stack.providers.lab import registry, teardown

    record = registry.find(name)
    if record is None:
        raise Problem(f"There is no lab {name}", str(registry.DIRECTORY), "./voip status --all")
    teardown.destroy(record, progress, with_master=True)
