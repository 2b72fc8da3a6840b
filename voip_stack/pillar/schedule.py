"""What a minion does by itself, by the clock: the pillar key `schedule` that Salt's minion reads.

For what must go on while the master is away. A job runs in a process of its own: for what needs
the network, which a beacon must not wait for.
"""

from __future__ import annotations

from typing import Any

from voip_stack.pillar.compile import certificates
from voip_stack.pillar.schema import Pillar


def compile_schedule(pillar: Pillar, host: str, components: list[str]) -> dict[str, Any]:
    """Return {job: settings}, {} for a host that has nothing to do.

    components: those that could be had.
    """
    checking = [
        name
        for name, certificate in certificates(pillar, host).items()
        if certificate["revocation"] and name in components
    ]
    if not checking:
        return {}
    refresh = {
        "function": "voip_crl.scheduled",
        "seconds": pillar.pki.crl_refresh_s,
        # After a long time without power a list in place may have ended.
        "run_on_start": True,
        "maxrunning": 1,
        "return_job": False,
    }
    return {"voip_crl": refresh}
