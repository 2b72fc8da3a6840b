"""Wait until the parts of the platform have found each other; the last step of an orchestration.

Hosts converge side by side, so a proxy may start before the media relay and the PBX that it uses,
and then believes for some seconds that they are not there.
"""

import time

from salt.exceptions import CommandExecutionError

__virtualname__ = "voip_ready"
PAUSE_S = 0.5


def __virtual__():
    return __virtualname__


def proxy(timeout_s=40):
    """Return True once this host's proxy reaches every media relay and every PBX.

    timeout_s: how long they may take. Raises CommandExecutionError that names those missing.
    """
    deadline = time.monotonic() + timeout_s
    while missing := _missing():
        if time.monotonic() > deadline:
            raise CommandExecutionError(
                f"the proxy does not reach {', '.join(missing)} (waited {timeout_s} s)"
            )
        time.sleep(PAUSE_S)
    return True


def _missing():
    try:
        # Asks them now: by itself the proxy would only ask again with a call after a pause.
        __salt__["kamailio.rpc"]("rtpengine.ping", "all")
        relays = __salt__["kamailio.rpc"]("rtpengine.show", "all") or []
        silent = [f"relay {row['url']}" for row in relays if not row.get("active")]
        pbxs = __salt__["kamailio.dispatchers"]()
    except CommandExecutionError as err:
        return [str(err)]
    return silent + [f"PBX {pbx['uri']}" for pbx in pbxs if pbx["state"] != "active"]
