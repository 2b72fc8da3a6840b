"""Tell the master what happened on this host, in a way that proves it was this host.

The file is not named voip_event: a minion that has just synced its extensions for the first time
could take it for the one of that name in _utils.
"""

import voip_event

__virtualname__ = "voip_event"


def __virtual__():
    return __virtualname__


def send(kind, **data):
    """Send a signed event. kind: as "kernel/installed", one of voip_stack/events/handlers.py.

    data: plain values, no secret: the event bus is no place for one. Returns whether the master
    took it.
    """
    data = {name: value for name, value in data.items() if not name.startswith("__")}
    envelope = voip_event.signed(__opts__, kind, **data)
    return __salt__["event.fire_master"](envelope, f"voip/event/{kind}")
