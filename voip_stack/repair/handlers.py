"""The health beacon's events: service/down starts a repair, service/up ends what was given up."""

from __future__ import annotations

import logging
from typing import Annotated

from pydantic import Field

from voip_stack import deployment, paths
from voip_stack.events import orchestrate, security
from voip_stack.events.handlers import Data
from voip_stack.pillar import compile_for, current
from voip_stack.repair import hosts, state
from voip_stack.repair.incidents import Incident

log = logging.getLogger(__name__)
Service = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")]


class Down(Data):
    """what: why the probe calls it down, for the master's log; never acted upon.

    has_answered: whether it ever did while the beacon watched.
    """

    service: Service
    what: Annotated[str, Field(max_length=300)]
    for_s: Annotated[float, Field(ge=0, le=86400 * 366)] = 0.0
    has_answered: bool = True


class Up(Data):
    service: Service


def down(host: str, data: Down) -> None:
    """Have the orchestration verify and repair it."""
    if not _is_own("service/down", host, data.service):
        return
    log.info("%s: %s is down for %.1f s: %r", host, data.service, data.for_s, data.what)
    # Of the event only what was checked goes on: the reason for the record is asked for again.
    order = {
        "host": host,
        "service": data.service,
        "for_s": data.for_s,
        "has_answered": data.has_answered,
        "by": "health beacon",
        "forced": False,
    }
    orchestrate.run("repair", {"repair": order})


def up(host: str, data: Up) -> None:
    """It answers again: what was given up or left alone is well, once the host confirms it."""
    if not _is_own("service/up", host, data.service) or not state.is_remembered(host, data.service):
        return
    if hosts.probe(host, data.service):
        return
    state.untell(host, data.service)
    if state.restore(host, data.service):
        incident = Incident(host, data.service, "it answers again", "health beacon")
        incident.close("recovered", "no longer degraded")


def _is_own(kind: str, host: str, service: str) -> bool:
    """False, and a security event, for a service that is not this host's."""
    compiled = compile_for(current(paths.pillar_dir()), host, deployment.read())
    if service in compiled["probes"]:
        return True
    security.not_its_own(kind, host, f"the host runs no {service}")
    return False
