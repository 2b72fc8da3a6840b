"""Which beacons watch a host, and how often: the pillar key `beacons` that Salt's minion reads.

Beacons run in the minion's own loop, so an interval is also how often that loop is held up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from voip_stack.pillar import health, identity, renewal
from voip_stack.pillar.components import PROXIES
from voip_stack.pillar.schema import Pillar


def _kernel(pillar: Pillar, host: str, components: list[str]) -> dict[str, Any] | None:
    """New kernels of media hosts: an upgrade is hours from its reboot, so minutes will do."""
    if "rtpengine" not in components or not pillar.rtpengine.kernel_module:
        return None
    return {"interval": 60, "settle_s": 120, "repeat_s": 3600}


def _bans(pillar: Pillar, host: str, components: list[str]) -> dict[str, Any] | None:
    """Whom proxies shut out: to be read by a person, so some seconds later will do."""
    proxies = [name for name in components if name in PROXIES]
    return {"interval": 10, "proxies": proxies} if proxies else None


# Beacon -> its settings for (pillar, host, components that could be had), None where it has
# nothing to watch.
Settings = Callable[[Pillar, str, list[str]], dict[str, Any] | None]
TABLE: dict[str, Settings] = {
    "voip_bans": _bans,
    "voip_certificates": renewal.beacon,
    "voip_kernels": _kernel,
    "voip_health": health.beacon,
    "voip_identity": identity.beacon,
}


def compile_beacons(
    pillar: Pillar, host: str, components: list[str]
) -> dict[str, list[dict[str, Any]]]:
    """Return {beacon: [{setting: value}, ...]}, the form that Salt wants."""
    found = {}
    for name, settings in TABLE.items():
        if (own := settings(pillar, host, components)) is not None:
            found[name] = [{key: value} for key, value in own.items()]
    return found
