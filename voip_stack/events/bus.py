"""The master's own event bus, for whoever watches it (`salt-run state.event`)."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

from voip_stack import paths

log = logging.getLogger(__name__)


@cache
def options() -> dict[str, Any]:
    """The master's configuration, as Salt reads it."""
    import salt.config

    return salt.config.client_config(str(paths.master_dir() / "master"))


def fire(tag: str, data: dict[str, Any]) -> None:
    """Tell the bus. What listens there must not believe it more than any other event: a minion can
    send the same tag. The record is what counts, so a bus that is down is no failure."""
    import salt.utils.event

    try:
        with salt.utils.event.get_event(
            "master", sock_dir=options()["sock_dir"], opts=options(), listen=False
        ) as bus:
            bus.fire_event(data, tag)
    except Exception as error:  # Salt's transport raises classes of its own and of its libraries
        log.warning("The event %s was recorded but not sent: %s", tag, error)
