"""Tell the master that this machine's identity in the Vault nears its end.

One small file is read, no request is made: beacons run in the minion's own loop. Nothing is told
of a machine that has no identity yet: `up` gives it its first one.
"""

import json
import os
import sys
import time

# Salt's loader has _utils on the module path for every kind of extension but this one.
_UTILS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "utils")
if _UTILS not in sys.path:
    sys.path.append(_UTILS)

import voip_event  # noqa: E402
import voip_vault_identity  # noqa: E402

__virtualname__ = "voip_identity"


def __virtual__():
    return __virtualname__


def validate(config):
    """Check the beacon's settings, which the pillar's compiler has made."""
    if any("renew_fraction" in item for item in config):
        return True, "valid"
    return False, "renew_fraction is missing"


def beacon(config):
    """Return one signed event identity/expiring while it is due.

    config: [{"renew_fraction": float}, ...]. It is told again at every interval until another
    identity is there, so that an event which was lost, or came in vain, is no end.
    """
    settings = {key: value for item in config for key, value in item.items()}
    path = f"{__opts__.get('voip_stack_dir', '/etc/voip-stack')}/vault/approle.json"
    try:
        with open(path, encoding="utf-8") as handle:
            identity = json.load(handle)
    except (FileNotFoundError, ValueError):
        return []
    if not voip_vault_identity.is_due(identity, settings["renew_fraction"], time.time()):
        return []
    kind = "identity/expiring"
    return [{"tag": kind, **voip_event.signed(__opts__, kind)}]
