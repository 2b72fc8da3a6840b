"""The two media relays of a lab: where they are, taken away, and home again."""

from __future__ import annotations

import contextlib

from voip_stack import drain
from voip_stack.cli.hosts import provider_of
from voip_stack.problem import Problem
from voip_stack.repair import state
from voip_stack.steps import Steps

HOME, OTHER = "media-1", "media-2"
PAIRS = ((HOME, OTHER), (OTHER, HOME))
UNIT = "rtpengine-daemon"
AROUND = ("keepalived", "voip-relay-watch")


def states(salt):
    return {relay["state"] for relay in salt("sip-1", "kamailio.media_relays")}


def answering(salt, *hosts):
    """The relays that are on one of these hosts; nothing while a minion is still on its way."""
    try:
        return [relay for host in hosts for relay in salt(host, "rtpengine_relays.here")]
    except Problem as err:  # a guest that boots has no minion yet
        print(err)
        return []


def send_home(salt, on, eventually):
    """Each relay on its own host, nothing drained."""
    provider_of().ensure_guests(lambda text: None)
    on(HOME, "systemctl", "unmask", "--runtime", UNIT)
    for host in list(drain.drained()):
        with Steps("drain") as steps, steps.step(f"New calls to {host} again") as step:
            drain.undo(host, step)
    for host, other in PAIRS:
        eventually(lambda pair=(host, other): pair[0] in answering(salt, *pair), 60, 1)
        if host not in answering(salt, host):
            salt(other, "rtpengine_relays.send_home", host, timeout_s=60)
        # One that goes from host to host answers at neither for a moment.
        eventually(lambda host=host: host in answering(salt, host), 15)
    # A relay that was away gets calls again only once the proxy has heard of it.
    eventually(lambda: states(salt) == {"active"}, 60, 0.5)


@contextlib.contextmanager
def none_left(salt, on, eventually):
    """Both are killed and stay away for as long as the block lasts; nobody repairs them."""
    units = {host: (UNIT, f"rtpengine-standby@{other}") for host, other in PAIRS}
    try:
        for host in units:
            state.maintain(host, 600, "a test")
            on(host, "systemctl", "mask", "--runtime", *units[host])
        for host in units:
            on(host, "systemctl", "kill", "--signal=KILL", UNIT)
        yield
    finally:
        for host in units:
            on(host, "systemctl", "unmask", "--runtime", *units[host])
        for host in units:
            on(host, "systemctl", "restart", UNIT, *AROUND)
            state.end_maintenance(host)
        send_home(salt, on, eventually)
