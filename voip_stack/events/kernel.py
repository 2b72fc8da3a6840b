"""What the master does about a media host's kernels: build before the reboot, tell what failed."""

from __future__ import annotations

import logging
from typing import Annotated

from pydantic import Field

from voip_stack import paths
from voip_stack.events import orchestrate, security
from voip_stack.events.alerts import raise_alert
from voip_stack.events.handlers import Data
from voip_stack.events.locks import one_at_a_time
from voip_stack.pillar import current

log = logging.getLogger(__name__)
COMPONENT = "rtpengine"


class Installed(Data):
    """release: as `uname -r` would say."""

    release: Annotated[str, Field(pattern=r"^[0-9][A-Za-z0-9.+~_-]{0,63}$")]


class BuildFailed(Installed):
    """reason: in one line, the compiler's first error for example."""

    reason: Annotated[str, Field(max_length=300, pattern=r"^[^\x00-\x1f\x7f]*$")]


def installed(host: str, data: Installed) -> None:
    """Have the module built on `host` for the kernel that boots next.

    The release only explains: what is built for is found on the host. Problem when it fails.
    """
    if not _has_module(host, "kernel/installed"):
        return
    with one_at_a_time(f"kernel/{host}") as is_mine:
        if not is_mine:
            log.info("A build on %s is on its way already", host)
            return
        log.info("%s has a new kernel, %s: building RTPEngine's module for it", host, data.release)
        orchestrate.run("kernel", {"host": host})


def build_failed(host: str, data: BuildFailed) -> None:
    """Raise the alert; media goes on in user space."""
    if _has_module(host, "kernel/build-failed"):
        detail = (
            f"RTPEngine's kernel module for {data.release}: {data.reason}. Media goes on in user "
            f"space. To do: ./voip salt {host} rtpengine_module.status"
        )
        raise_alert("kernel/build-failed", host, detail, release=data.release)


def _has_module(host: str, kind: str) -> bool:
    if COMPONENT in current(paths.pillar_dir()).components_of(host):
        return True
    security.not_its_own(kind, host, f"the host runs no {COMPONENT}")
    return False
