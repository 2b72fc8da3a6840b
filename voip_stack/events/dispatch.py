"""From an event on the master's bus to its handler."""

from __future__ import annotations

import logging
from typing import Any

from pydantic import ValidationError

from voip_stack import paths
from voip_stack.events import security
from voip_stack.events.alerts import raise_alert
from voip_stack.events.handlers import TABLE
from voip_stack.events.received import NotBelieved, Verifier
from voip_stack.pillar import current
from voip_stack.problem import Problem

log = logging.getLogger(__name__)
# One for the process: it remembers the nonces. Made at import, which is the reactor's first event.
VERIFIER = Verifier(paths.master_dir() / "pki" / "minions")


def receive(tag: str, received: Any) -> str:
    """Verify an event and hand it to its handler. Returns what became of it, in a word.

    Never raises: an event must not stop the reactor. What a handler could not do is an alert.
    """
    try:
        event = VERIFIER.verify(received, current(paths.pillar_dir()).minions())
    except NotBelieved as reason:
        if reason.kind == "event/before-start":
            log.info("%s: %s", reason.host, reason)
            return "late"
        security.report(reason.kind, reason.host, f"{reason} (tag {str(tag)[:80]!r})")
        return "refused"
    except Problem as problem:
        log.error("Nothing is done about events while the pillar is refused: %s", problem)
        return "pillar refused"
    return handle(event.host, event.kind, event.data)


def handle(host: str, kind: str, data: dict[str, Any]) -> str:
    """Validate a believed event's data and act."""
    handler = TABLE.get(kind)
    if handler is None:
        security.report("event/unknown-kind", host, f"{kind[:60]!r} is no kind of event of ours")
        return "refused"
    model, function = handler.load()
    try:
        valid = model.model_validate(data)
    except ValidationError as error:
        names = ", ".join(".".join(str(part) for part in e["loc"]) for e in error.errors())
        security.report("event/malformed", host, f"{kind}: data not as declared: {names[:200]}")
        return "refused"
    try:
        function(host, valid)
    except Problem as problem:
        raise_alert(f"{kind}/failed", host, str(problem))
        return "failed"
    except Exception as error:
        log.exception("The handler of %s failed", kind)
        raise_alert(f"{kind}/failed", host, f"{type(error).__name__}: {error}")
        return "failed"
    return "done"
