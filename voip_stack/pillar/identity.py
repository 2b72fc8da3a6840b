"""The beacon of a host's identity in the Vault: how often it looks."""

from __future__ import annotations

from typing import Any

from voip_stack.pillar.schema import Pillar

# Looks, at least, between the moment when an identity is due and its end: each is one more chance.
LOOKS = 20
SLOWEST_S = 60


def beacon(pillar: Pillar, host: str, components: list[str]) -> dict[str, Any]:
    """Settings of the beacon voip_identity, on every host."""
    vault = pillar.vault
    interval = vault.secret_id_ttl_s * vault.renew_fraction / LOOKS
    return {
        "interval": max(1, min(SLOWEST_S, int(interval))),
        "renew_fraction": vault.renew_fraction,
    }
