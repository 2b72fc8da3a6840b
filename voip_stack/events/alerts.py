"""Alerts: what the platform could not mend itself and a person must look at."""

from __future__ import annotations

import logging
from typing import Any

from voip_stack.events import bus, record

log = logging.getLogger(__name__)
RECORD = "alerts"


def raise_alert(kind: str, host: str, detail: str, **more: Any) -> None:
    """Record an alert and tell the bus as voip/alert/<kind>. No secret in `detail`.

    kind: what it is about, as `certificate/renewal-failed`. detail: what happened and what to do.
    """
    entry = record.append(RECORD, {"kind": kind, "host": host, "detail": detail, **more})
    log.error("Alert %s on %s: %s", kind, host, detail)
    bus.fire(f"voip/alert/{kind}", entry)


def clear_alert(kind: str, host: str, detail: str, **more: Any) -> None:
    """Record that what an alert of this kind was about is over; the bus hears /cleared."""
    entry = {"kind": kind, "host": host, "detail": detail, "cleared": True, **more}
    log.warning("Alert %s on %s is over: %s", kind, host, detail)
    bus.fire(f"voip/alert/{kind}/cleared", record.append(RECORD, entry))
