"""The media relays of this host: configured for, here now, given away and kept away.

Root on the minion; no Vault access. keepalived moves a relay's addresses, see docs/media.md.
"""

import os
import time

import voip_relays
from salt.exceptions import CommandExecutionError, SaltInvocationError
from voip_process import read, run

__virtualname__ = "rtpengine_relays"

_PAUSE_S = 0.1


def __virtual__():
    return __virtualname__


def instances():
    """Return the relays that this host runs or may take over (see `voip_relays.instances`)."""
    return voip_relays.instances(__pillar__["voip"])


def here():
    """Return {relay: sessions} of those whose calls are on this host now.

    CLI Example:

    .. code-block:: bash

        salt 'media-*' rtpengine_relays.here
    """
    found = {}
    for item in voip_relays.here(__pillar__["voip"]):
        ((_, counters),) = __salt__["rtpengine.statistics"](item["name"]).items()
        found[item["name"]] = int(counters["current"]["sessionsown"])
    return found


def store():
    """Return {address, port, name} of the Redis of live calls, {} where there is none."""
    voip = __pillar__["voip"]
    address = voip["endpoints"].get("callstore")
    if not address:
        return {}
    hosts = voip["hosts"].values()
    name = next(entry["fqdn"] for entry in hosts if entry.get("internal") == address)
    return {"address": address, "port": voip["ports"]["callstore"]["redis"], "name": name}


def peers():
    """Return the internal addresses of the other media hosts that may take a relay over."""
    voip = __pillar__["voip"]
    names = [relay["name"] for relay in voip["relays"] if relay["floats"]]
    return [voip["hosts"][name]["internal"] for name in names if name != voip["self"]["name"]]


def check_keepalived(stage):
    """Have keepalived check the staged directory. Raises CommandExecutionError with its words."""
    path = os.path.join(stage, "keepalived.conf")
    done = run(["/usr/sbin/keepalived", "--config-test", f"--use-file={path}"], timeout_s=20)
    if done.returncode:
        raise CommandExecutionError(f"keepalived.conf: {(done.stderr or done.stdout).strip()}")


def hold_off():
    """Take over no other host's relay from now on, also after a reboot; give away those here.

    Returns the relays that were given away. Raises CommandExecutionError for one that nobody else
    took: it stays here, with its calls.
    """
    others = [item for item in instances() if not item["is_home"]]
    given = []
    for item in others:
        if voip_relays.is_here(item["addresses"]["internal"]):
            _give(item)
            given.append(item["name"])
        _hold(item["name"], True)
    return given


def take_part():
    """Undo `hold_off`. Returns True."""
    for item in instances():
        _hold(item["name"], False)
    return True


def send_home(name):
    """Give another host's relay back to it, calls and all; returns False when it is not here.

    Its calls hear nothing for about a second. Raises CommandExecutionError, and the relay stays
    here, when its home does not take it.
    """
    item = next((item for item in instances() if item["name"] == name), None)
    if item is None or item["is_home"]:
        raise SaltInvocationError(f"{name} is no relay that this host takes over")
    if not voip_relays.is_here(item["addresses"]["internal"]):
        return False
    _give(item)
    return True


def send_idle_home():
    """Give those relays of others back that have no call just now; returns their names."""
    at_home = {item["name"]: item["is_home"] for item in instances()}
    idle = [name for name, sessions in here().items() if not sessions and not at_home[name]]
    return [name for name in idle if send_home(name)]


def _give(item, timeout_s=20):
    """Have keepalived give a relay away, and wait until another host answers for it."""
    _hold(item["name"], True)
    try:
        deadline = time.monotonic() + timeout_s
        while voip_relays.is_here(item["addresses"]["internal"]) or not _answers(item["name"]):
            if time.monotonic() > deadline:
                raise CommandExecutionError(f"no other host takes relay {item['name']}: it stays")
            time.sleep(_PAUSE_S)
    finally:
        _hold(item["name"], False)


def _answers(name):
    try:
        return bool(__salt__["rtpengine.ping"](name))
    except CommandExecutionError:
        return False


def _hold(name, is_held):
    os.makedirs(voip_relays.HELD_DIRECTORY, mode=0o755, exist_ok=True)
    path = os.path.join(voip_relays.HELD_DIRECTORY, f"{name}.held")
    # keepalived watches the file itself: it is written, not replaced.
    with open(path, "w", encoding="ascii") as file:
        file.write(f"{int(is_held)}\n")


def held():
    """Return the relays that this host does not take over, by an operator's word."""
    found = []
    for item in instances():
        path = os.path.join(voip_relays.HELD_DIRECTORY, f"{item['name']}.held")
        if read(path).strip() == "1":
            found.append(item["name"])
    return found
