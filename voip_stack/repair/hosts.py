"""What remediation asks of a host: the execution module voip_repair, through the master."""

from __future__ import annotations

from typing import Any

from voip_stack.master import client
from voip_stack.problem import Problem
from voip_stack.repair.rules import Look

# systemd's and the daemon's time for a start, and the answer's way.
RESTART_S = 120


def look(host: str, service: str) -> Look:
    return Look.of(client.call(host, "voip_repair.look", service, timeout_s=30))


def probe(host: str, service: str) -> str:
    """ "" when the service answers its protocol, else why not; a silent minion is an answer too."""
    try:
        return str(client.call(host, "voip_repair.probe", service, timeout_s=10))
    except Problem as problem:
        return problem.what


def unit(host: str, service: str) -> str:
    """The systemd unit of a service."""
    return str(client.call(host, "voip_repair.unit", service, timeout_s=30))


def evidence(host: str, service: str) -> str:
    return str(client.call(host, "voip_repair.evidence", service, timeout_s=30))


def restart(host: str, service: str, *, stopped: bool) -> tuple[list[str], str]:
    """(what was done, the problem or "")."""
    found: Any = client.call(
        host, "voip_repair.restart", service, timeout_s=RESTART_S, stopped=stopped
    )
    return list(found["done"]), str(found["problem"])


def answers(host: str, service: str, timeout_s: float) -> float:
    """Wait until it answers; the seconds that took. Problem when it does not."""
    return float(
        client.call(host, "voip_repair.answers", service, timeout_s, timeout_s=timeout_s + 15)
    )
