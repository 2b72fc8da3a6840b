"""Tell the master whom this host's proxies have shut out.

One question to each proxy's control socket an interval. A proxy that does not answer tells nothing:
that it hangs is voip_health's to see.
"""

import os
import sys

from salt.exceptions import CommandExecutionError

# Salt's loader has _utils on the module path for every kind of extension but this one.
_UTILS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "utils")
if _UTILS not in sys.path:
    sys.path.append(_UTILS)

import voip_event  # noqa: E402

__virtualname__ = "voip_bans"

KIND = "source/banned"
# Of one event. A botnet's thousands are told as a number.
MOST = 20
_TIMEOUT_S = 1
_known = {}  # {proxy: sources that were shut out at the last look}


def __virtual__():
    return __virtualname__


def validate(config):
    """Check the beacon's settings, which the pillar's compiler has made."""
    if any("proxies" in item for item in config):
        return True, "valid"
    return False, "proxies are missing"


def beacon(config):
    """Return a signed event of each proxy that shut somebody out since the last look.

    config: [{"proxies": ["kamailio"]}, ...]: modules with a function `bans`. After a restart of the
    minion, bans that still last are told again.
    """
    settings = {key: value for item in config for key, value in item.items()}
    return [event for proxy in settings["proxies"] for event in _news(proxy)]


def _news(proxy):
    try:
        bans = __salt__[f"{proxy}.bans"](timeout_s=_TIMEOUT_S)
    except CommandExecutionError:
        return []
    before = _known.get(proxy, set())
    _known[proxy] = {ban["source"] for ban in bans}
    new = [ban for ban in bans if ban["source"] not in before]
    if not new:
        return []
    data = {"proxy": proxy, "bans": new[:MOST], "more": max(0, len(new) - MOST)}
    return [{"tag": KIND} | voip_event.signed(__opts__, KIND, **data)]
