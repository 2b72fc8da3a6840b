"""What the master does about a certificate that its host's beacon calls due."""

from __future__ import annotations

import logging
from typing import Annotated, Literal

from pydantic import Field

from voip_stack import paths
from voip_stack.certificates import outages, renew
from voip_stack.certificates.queue import Queue
from voip_stack.events import locks, security
from voip_stack.events.handlers import Data
from voip_stack.pillar import current
from voip_stack.problem import Problem

log = logging.getLogger(__name__)


class Expiring(Data):
    """name: the component's. at: when it was told, left_s: of its life; by the host's clock."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
    why: Literal["ends", "missing", "unproven"]
    at: Annotated[float, Field(ge=0, lt=1e11)]
    left_s: Annotated[float, Field(gt=-1e11, lt=1e11)]


def expiring(host: str, data: Expiring) -> None:
    """Have it renewed, unless it is not one of this host's, or a try has just failed.

    Whether it is really due is looked up on the host: an event that came twice, or in vain,
    changes nothing.
    """
    if (host, data.name) not in renew.held(current(paths.pillar_dir())):
        what = f"the host has no certificate {data.name}"
        security.not_its_own("certificate/expiring", host, what)
        return
    if outages.is_pausing(host, data.name):
        return
    if RENEWALS.put(host, data.name, data):
        log.info("%s: the certificate of %s is due (%s)", host, data.name, data.why)


def _renew(host: str, name: str, data: Expiring) -> None:
    """One renewal, and what comes of it. Never raises: it is a thread's whole work."""
    try:
        renew.renew(host, name, by=renew.BEACON, forced=False, since=data.at, wait_s=0)
    except locks.Busy:
        return  # an operator's order does it
    except renew.NotRenewed as problem:
        outages.failed(host, name, problem.cause, str(problem), data.left_s)
    except Problem as problem:
        outages.failed(host, name, "master", str(problem), data.left_s)
    except Exception as error:
        log.exception("The renewal of %s on %s failed", name, host)
        outages.failed(host, name, "master", f"{type(error).__name__}: {error}", data.left_s)


RENEWALS = Queue(_renew)
