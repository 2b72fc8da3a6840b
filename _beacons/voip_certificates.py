"""Tell the master which certificates of this machine are to be renewed.

Event: certificate/expiring {name, why, at, left_s}, see _utils/voip_renewal_watch.py. Files only,
and no request: beacons run in the minion's own loop.
"""

import os
import sys
import time

import salt.utils.beacons

# Salt's loader has _utils on the module path for every kind of extension but this one.
_UTILS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "utils")
if _UTILS not in sys.path:
    sys.path.append(_UTILS)

import voip_event  # noqa: E402
import voip_renewal_watch  # noqa: E402

__virtualname__ = "voip_certificates"

KIND = "certificate/expiring"


def __virtual__():
    return __virtualname__


def validate(config):
    """Check the beacon's settings, which the pillar's compiler has made."""
    if salt.utils.beacons.list_to_dict(config).get("certificates"):
        return True, "valid"
    return False, "certificates are missing"


def beacon(config):
    """Return one signed event for each certificate that is due, and again while it stays so.

    config: [{"certificates": {name: {"renew_fraction", "group", "listeners"}}}, ...].
    """
    certificates = salt.utils.beacons.list_to_dict(config)["certificates"]
    directory = f"{__opts__.get('voip_stack_dir', '/etc/voip-stack')}/tls"
    told = voip_renewal_watch.news(directory, __opts__["id"], certificates, time.time())
    return [{"tag": KIND, **voip_event.signed(__opts__, KIND, **data)} for data in told]
