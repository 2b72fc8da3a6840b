"""Renewals that fail: how long until the next try, and one alert for an outage, not for a try.

An outage is of one certificate; that of the Vault is everybody's, and told once.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from voip_stack import paths
from voip_stack.events import memory
from voip_stack.events.alerts import clear_alert, raise_alert

KIND = "certificate/renewal-failed"
FIRST_S = 5.0
# A try that the Vault's absence stops uses nothing up: they go on with the beacon's events.
VAULT_S = 0.0
# A host that refuses signs and reloads in vain each time.
MOST_S = 3600.0
# Tries that the rest of a certificate's life must still have room for.
TRIES_LEFT = 20


def pause_s(cause: str, tries: int, left_s: float) -> float:
    """Seconds from a failed try to the next. tries: that failed in a row. left_s: of its life."""
    if cause == "vault":
        return VAULT_S
    bound = max(FIRST_S, min(MOST_S, left_s / TRIES_LEFT))
    return min(bound, FIRST_S * 2.0 ** min(tries - 1, 20))


def file() -> Path:
    return paths.state_dir() / "renewals.json"


def known() -> dict[str, dict[str, Any]]:
    """{host/name: {since, tries, next, cause, why}}, epochs."""
    return memory.read(file())


def is_pausing(host: str, name: str) -> bool:
    """Whether it is too soon after a try that failed."""
    return time.time() < known().get(_key(host, name), {}).get("next", 0.0)


def failed(host: str, name: str, cause: str, why: str, left_s: float) -> None:
    """Count a try that failed; raise the alert when the outage begins, or has another cause."""
    now = time.time()
    with memory.changing(file()) as outages:
        told = {_scope(key, item["cause"]) for key, item in outages.items()}
        before = outages.get(_key(host, name), {"since": now, "tries": 0})
        tries = before["tries"] + 1
        outages[_key(host, name)] = {
            "since": before["since"],
            "tries": tries,
            "next": now + pause_s(cause, tries, left_s),
            "cause": cause,
            "why": why,
        }
    if _scope(_key(host, name), cause) not in told:
        raise_alert(KIND, host, why, name=name, cause=cause)


def mended(host: str, name: str) -> None:
    """It was renewed, or is good: nothing is left of its outage, and who was alerted hears so."""
    if _key(host, name) not in known():
        return
    with memory.changing(file()) as outages:
        ended = outages.pop(_key(host, name), None)
        going_on = {_scope(key, item["cause"]) for key, item in outages.items()}
    if ended and _scope(_key(host, name), ended["cause"]) not in going_on:
        lasted_s = time.time() - ended["since"]
        detail = f"{name} is renewed; {ended['tries']} tries had failed in {lasted_s:.0f} s"
        clear_alert(KIND, host, detail, name=name, cause=ended["cause"])


def _key(host: str, name: str) -> str:
    return f"{host}/{name}"


def _scope(key: str, cause: str) -> str:
    """What one alert is about."""
    return "vault" if cause == "vault" else key
