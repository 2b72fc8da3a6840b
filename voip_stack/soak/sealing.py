"""Seal the Vault for a while, and have it unsealed again whatever happened."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from voip_stack import identity, paths
from voip_stack.deployment import write_atomic
from voip_stack.master import client
from voip_stack.pillar import Pillar
from voip_stack.problem import Problem
from voip_stack.repair import state

Progress = Callable[[str], None]
CALL_S = 60
REASON = "voip soak sealed"


def seal(pillar: Pillar, for_s: float) -> None:
    """Seal it; self-repair of its host, which would unseal it, is paused for so long."""
    if pillar.vault.external:
        raise Problem(
            "An existing Vault is its owner's to seal", "pillar: vault.external", "try it in a lab"
        )
    host = identity.provisioner(pillar)
    was_paused = host in state.maintenance()
    # Before it is sealed: a crash in between only leaves an unsealing that finds it unsealed.
    write_atomic(_marker(), json.dumps({"host": host, "was_paused": was_paused}) + "\n")
    if not was_paused:
        state.maintain(host, for_s, REASON)
    client.call(host, "openbao.seal", timeout_s=CALL_S)


def is_sealed(pillar: Pillar) -> bool:
    """What the server says of itself."""
    found = client.call(identity.provisioner(pillar), "openbao.status", timeout_s=CALL_S)
    return bool(found["sealed"])


def unseal() -> bool:
    """Unseal what `seal` sealed, in this run or in one that a crash ended. Returns whether any."""
    try:
        left = json.loads(_marker().read_text())
    except FileNotFoundError:
        return False
    client.call(left["host"], "openbao.unseal", timeout_s=CALL_S)
    if not left["was_paused"]:
        state.end_maintenance(left["host"])
    _marker().unlink()
    return True


def _marker() -> Path:
    return paths.state_dir() / "sealed.json"
