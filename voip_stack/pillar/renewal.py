"""The beacon of a host's certificates: what it watches, and how often it looks."""

from __future__ import annotations

from typing import Any

from voip_stack.pillar.compile import certificates
from voip_stack.pillar.schema import Pillar

# Looks, at least, between the moment when one is due and its end: each is one more chance.
LOOKS = 20
# A look costs a stat for each certificate. Slower than this, one whose life is shorter than pillar
# says (it was so when it was signed) would be seen too late.
SLOWEST_S = 10


def beacon(pillar: Pillar, host: str, components: list[str]) -> dict[str, Any] | None:
    """Settings of the beacon voip_certificates, None for a host that holds none."""
    held = {name: entry for name, entry in certificates(pillar, host).items() if name in components}
    if not held:
        return None
    shortest_s = min(entry["ttl_s"] * entry["renew_fraction"] for entry in held.values())
    needed = ("renew_fraction", "group", "listeners")
    return {
        "interval": max(1, min(SLOWEST_S, int(shortest_s / LOOKS))),
        "certificates": {name: {key: entry[key] for key in needed} for name, entry in held.items()},
    }
