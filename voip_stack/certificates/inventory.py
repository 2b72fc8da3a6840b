"""Which certificates there are: what each host has, and what the Vault says of them."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

from voip_stack import identity
from voip_stack.master import client
from voip_stack.pillar import Pillar
from voip_stack.pillar.compile import certificates
from voip_stack.problem import Problem

_ASK_S = 60


def survey(pillar: Pillar, hosts: Sequence[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """([certificate, ...], [what could not be found out, ...]) of `hosts`, by host and component.

    A certificate: host, component, serial (hex), issuer, authority (its key identifier), not_after
    (ISO 8601), life_s, left_s, unproven, revoked (bool; None: the Vault did not say), problem (None
    when there is none). Of a host that does not answer, what the Vault has signed for it and is
    still good: host, component None, serial.
    """
    wanted = [host for host in hosts if certificates(pillar, host)]
    job = client.run(wanted, "voip_pki.inventory", deadline_s=_ASK_S) if wanted else client.Job()
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    for host in wanted:
        if host in job.returns and host not in job.failed:
            rows += [_row(host, entry) for entry in job.returns[host]]
            continue
        why = client.reason(job.returns[host]) if host in job.failed else "it does not answer"
        notes.append(f"{host}: {why}; listed is what the Vault has signed for it")
        rows += _signed_for(pillar, host, notes)
    _add_revoked(pillar, rows, notes)
    return rows, notes


def in_use(pillar: Pillar, host: str, component: str) -> dict[str, Any]:
    """The certificate that `component` of `host` has. Problem when the host does not tell."""
    for entry in client.call(host, "voip_pki.inventory", timeout_s=_ASK_S):
        if entry["component"] == component:
            if problem := entry.get("problem"):
                raise Problem(f"{component} of {host}: {problem}", host, "./voip up")
            return _row(host, entry)
    raise Problem(f"{host} has no certificate of {component}", "pillar/topology.yaml", "./voip up")


def _row(host: str, entry: dict[str, Any]) -> dict[str, Any]:
    row = {"host": host, "problem": None, "revoked": None, **entry}
    if ends := entry.get("not_after"):
        left = datetime.datetime.fromisoformat(ends) - datetime.datetime.now(datetime.UTC)
        row["left_s"] = int(left.total_seconds())
    return row


def _signed_for(pillar: Pillar, host: str, notes: list[str]) -> list[dict[str, Any]]:
    fqdn = f"{host}.{pillar.site.domain}"
    try:
        serials = _ask(pillar, "issued_to", name=fqdn)
    except Problem as problem:
        notes.append(f"{host}: the Vault does not tell: {problem}")
        return []
    return [
        {"host": host, "component": None, "serial": serial, "problem": None, "revoked": False}
        for serial in serials
    ]


def _add_revoked(pillar: Pillar, rows: list[dict[str, Any]], notes: list[str]) -> None:
    serials = [row["serial"] for row in rows if row.get("serial")]
    try:
        revoked = _ask(pillar, "revoked", serials=serials)
    except Problem as problem:
        notes.append(f"whether any is revoked the Vault does not tell: {problem}")
        return
    for row in rows:
        if row.get("serial") in revoked:
            row["revoked"] = revoked[row["serial"]] is not None


def _ask(pillar: Pillar, function: str, **keywords: Any) -> Any:
    provisioner = identity.provisioner(pillar)
    return client.call(
        provisioner, f"voip_vault_authority.{function}", timeout_s=_ASK_S, **keywords
    )
