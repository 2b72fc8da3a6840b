"""Revoke a certificate: another first, so that the service goes on; then the Vault, then the lists.

What is to be revoked is written down before its host has another: a run that died goes on with it.
"""

from __future__ import annotations

import getpass
import json
import os
from pathlib import Path
from typing import Any

from voip_stack import deployment, identity, paths
from voip_stack.certificates import inventory, revocation
from voip_stack.certificates.renew import renew
from voip_stack.events import record
from voip_stack.events.locks import one_at_a_time
from voip_stack.master import client
from voip_stack.pillar import Pillar
from voip_stack.problem import Problem
from voip_stack.steps import Steps

RECORD = "revocations"
_ASK_S = 60


def revoke(
    pillar: Pillar,
    host: str,
    component: str,
    steps: Steps,
    *,
    reason: str = "",
    replace: bool = True,
    serial: str | None = None,
) -> dict[str, Any]:
    """Revoke the certificate in use of `component` of `host`, or that of `serial` (hex).

    reason: for the record; the Vault keeps none. replace: the host gets another first. Returns
    {host, component, serial, replaced_by, revoked_at, reason, checked_by}. Problem at the first
    step that fails: the same command goes on from there.
    """
    with one_at_a_time(f"revocation/{host}/{component}") as is_mine:
        if not is_mine:
            raise Problem(f"Somebody else revokes the certificate of {component}", host)
        return _revoke(pillar, host, component, steps, reason, replace, serial)


def _revoke(
    pillar: Pillar,
    host: str,
    component: str,
    steps: Steps,
    reason: str,
    replace: bool,
    serial: str | None,
) -> dict[str, Any]:
    meant = serial or _begun(host, component)
    current = None
    if replace or meant is None:
        with steps.step("Look up the certificate in use") as step:
            current = inventory.in_use(pillar, host, component)["serial"]
            step.done(current)
    meant = meant or current
    deployment.write_atomic(_file(host, component), json.dumps({"serial": meant}), 0o600)
    if replace and current == meant:
        with steps.step(f"Give {component} of {host} another") as step:
            current = renew(host, component, by="revocation").serial
            step.done(current or "")
    with steps.step(f"Revoke {meant} in the Vault") as step:
        done = client.call(
            identity.provisioner(pillar),
            "voip_vault_authority.revoke",
            timeout_s=_ASK_S,
            serial=meant,
        )
        step.done("revoked, lists made anew")
    with steps.step("Bring the lists to every host that checks") as step:
        checked_by = revocation.refresh(pillar, without=None if replace else host)
        step.done(", ".join(checked_by) or "none does")
    about = {
        "host": host,
        "component": component,
        "serial": meant,
        "replaced_by": current if current != meant else None,
        "revoked_at": done["revoked_at"],
        "reason": reason,
        "checked_by": checked_by,
    }
    record.append(RECORD, about | {"by": os.environ.get("SUDO_USER") or getpass.getuser()})
    _file(host, component).unlink(missing_ok=True)
    return about


def _begun(host: str, component: str) -> str | None:
    """The serial that a run which died was revoking."""
    try:
        return json.loads(_file(host, component).read_text())["serial"]
    except (FileNotFoundError, ValueError, KeyError):
        return None


def _file(host: str, component: str) -> Path:
    folder = paths.state_dir() / "revocations"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder / f"{host}.{component}.json"
