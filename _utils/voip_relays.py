"""The media relays of this host: where each is configured, and whether its calls are here just now.

A relay is a pair of addresses and the RTPEngine at them. At home it is `rtpengine-daemon.service`;
where it floats, every other media host has the same RTPEngine, not started, for the time when the
addresses come there. Standard library only: the watch (salt/rtpengine/files/relay_watch.py) has a
copy beside it.
"""

import errno
import socket

HOME_UNIT = "rtpengine-daemon.service"
HOME_DIRECTORY = "/etc/rtpengine"
STANDBY_DIRECTORY = "/etc/rtpengine-standby"
# Files that keepalived tracks: not 0 gives the relay away. HELD is an operator's word and survives
# a reboot, DEAD is the watch's.
HELD_DIRECTORY = "/var/lib/voip-stack/relays"
DEAD_DIRECTORY = "/run/voip-relay"


def is_here(address):
    """Return True when this host has the address (IPv4) just now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError as err:
            if err.errno == errno.EADDRNOTAVAIL:
                return False
            raise
    return True


def instances(voip):
    """Return the relays that this host runs or may take over, its own one first.

    voip: a media host's pillar['voip']. Each: name, addresses ({network: address}), ipv6
    (those of IPv6, {} for none), floats, is_home, unit, directory, cli_port, database (of the Redis
    of live calls), priority and router (VRRP's, 1-255).
    """
    own = voip["self"]["name"]
    found = []
    for position, relay in enumerate(voip["relays"]):
        is_home = relay["name"] == own
        if not is_home and not (relay["floats"] and _floats(voip, own)):
            continue
        found.append(
            {
                "name": relay["name"],
                "addresses": {k: relay[k] for k in ("internal", "external") if k in relay},
                "ipv6": relay.get("ipv6", {}),
                "floats": relay["floats"],
                "is_home": is_home,
                "unit": HOME_UNIT if is_home else f"rtpengine-standby@{relay['name']}.service",
                "directory": HOME_DIRECTORY if is_home else f"{STANDBY_DIRECTORY}/{relay['name']}",
                "database": position,
                "router": voip["rtpengine"]["failover"]["first_router"] + position,
            }
        )
    found.sort(key=lambda item: not item["is_home"])
    for place, item in enumerate(found):
        item["cli_port"] = voip["rtpengine"]["cli_port"] + place
        # In the order of the topology, after its home.
        item["priority"] = 200 if item["is_home"] else 100 - _place(voip, own)
    return found


def _floats(voip, name):
    return any(relay["floats"] for relay in voip["relays"] if relay["name"] == name)


def _place(voip, name):
    return [relay["name"] for relay in voip["relays"]].index(name)


def here(voip):
    """Return those of `instances` whose calls are on this host now."""
    return [item for item in instances(voip) if is_here(item["addresses"]["internal"])]
