"""Which event does what: the only way from a VM's event to something done on the master.

A handler gets the host that has proved itself and data that its model has validated. It acts by
its own tables (the compiled pillar), so that no value of an event becomes a target, an SLS name or
a command.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict


class Data(BaseModel):
    """Base of the models of an event's data: nothing that is not declared."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


@dataclass(frozen=True)
class Handler:
    """model and function: 'module:name', imported when the first such event comes.

    function takes (host: str, data: the model) and returns nothing.
    """

    model: str
    function: str

    def load(self) -> tuple[type[BaseModel], Callable[[str, Any], None]]:
        return _load(self.model), _load(self.function)


def _load(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


class NothingMore(Data):
    """For events that say all by their kind and host."""


TABLE: dict[str, Handler] = {
    "certificate/expiring": Handler(
        "voip_stack.events.certificates:Expiring", "voip_stack.events.certificates:expiring"
    ),
    "identity/expiring": Handler(
        "voip_stack.events.handlers:NothingMore",
        "voip_stack.events.identity:expiring",
    ),
    "kernel/installed": Handler(
        "voip_stack.events.kernel:Installed", "voip_stack.events.kernel:installed"
    ),
    "kernel/build-failed": Handler(
        "voip_stack.events.kernel:BuildFailed", "voip_stack.events.kernel:build_failed"
    ),
    "revocation/stale": Handler(
        "voip_stack.events.revocation:Stale", "voip_stack.events.revocation:stale"
    ),
    "revocation/unchecked": Handler(
        "voip_stack.events.revocation:Stale", "voip_stack.events.revocation:unchecked"
    ),
    "source/banned": Handler("voip_stack.events.bans:Banned", "voip_stack.events.bans:banned"),
    "service/down": Handler("voip_stack.repair.handlers:Down", "voip_stack.repair.handlers:down"),
    "service/up": Handler("voip_stack.repair.handlers:Up", "voip_stack.repair.handlers:up"),
}
