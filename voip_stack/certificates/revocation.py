"""Who checks certificates by revocation lists, and having them all ask for newer ones at once."""

from __future__ import annotations

from voip_stack.master import client
from voip_stack.pillar import Pillar
from voip_stack.pillar.compile import certificates
from voip_stack.problem import Problem

_REFRESH_S = 60


def checking(pillar: Pillar) -> list[str]:
    """The hosts with a component that checks its peers by revocation lists."""
    return [
        host
        for host in pillar.minions()
        if any(item["revocation"] for item in certificates(pillar, host).values())
    ]


def refresh(pillar: Pillar, without: str | None = None) -> list[str]:
    """Have every host that checks take the Vault's newest lists now. Returns their names.

    without: a host that is left out, because it goes.

    Problem that names each host that did not; it does by its schedule, pki.crl_refresh_s at most
    after it is back.
    """
    hosts = [host for host in checking(pillar) if host != without]
    job = client.run(hosts, "voip_crl.refresh", deadline_s=_REFRESH_S) if hosts else client.Job()
    missing = {host: "does not answer" for host in hosts if host not in job.returns}
    missing |= {host: client.reason(job.returns[host]) for host in job.failed}
    if missing:
        told = "; ".join(f"{host}: {why}" for host, why in sorted(missing.items()))
        raise Problem(
            f"Not every host has the newest revocation lists: {told}",
            ", ".join(sorted(missing)),
            f"each asks again within {pillar.pki.crl_refresh_s} s; mend what is wrong there",
        )
    return hosts
