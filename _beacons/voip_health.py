"""Beacon: services of this host that do not answer their own protocol, and those that do again.

Events: service/down {service, what, for_s, has_answered}, service/up {service}; signed as all of
ours are.
The probes run in a process of their own (_utils/voip_prober.py); a beat only reads its answers.

Configuration (voip_stack/pillar/beacons.py): {"probes": {service: [probe, ...]}, "interval_s",
"timeout_s", "bad_in_a_row", "repeat_s", "interval": seconds between beats}.
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
import voip_generations  # noqa: E402
import voip_health_watch  # noqa: E402

__virtualname__ = "voip_health"

_NEEDED = {"probes", "interval_s", "timeout_s", "bad_in_a_row", "repeat_s"}


def __virtual__():
    return __virtualname__


def validate(config):
    """Tell whether the configuration is whole, and what it lacks."""
    missing = _NEEDED - set(salt.utils.beacons.list_to_dict(config))
    return not missing, f"voip_health lacks {', '.join(sorted(missing))}" if missing else "valid"


def beacon(config):
    """Return the events of one beat."""
    given = salt.utils.beacons.list_to_dict(config)
    wanted = {name: given[name] for name in sorted(_NEEDED)}
    directory = f"{__opts__.get('voip_stack_dir', '/etc/voip-stack')}/tls"
    return [
        {"tag": kind, **voip_event.signed(__opts__, kind, **data)}
        for kind, data in voip_health_watch.changes(wanted, time.time())
        if not (kind == "service/down" and _is_excused(directory, data["service"]))
    ]


def _is_excused(directory, service):
    """A daemon that cannot use its new certificate shows none until the former one is back: a
    repair would start it anew in between, and cut its calls. Told again after repeat_s."""
    return voip_generations.is_locked(directory, service)
