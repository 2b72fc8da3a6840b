"""Which proxy new connections to the shared address go to, and devices that move to that one.

Root on the minion: nftables, the proxies' control sockets, `ss`.
"""

import ipaddress
import subprocess
import time

import voip_nft
import voip_probe
import voip_proxy
from salt.exceptions import CommandExecutionError

__virtualname__ = "voip_shared"

# How often a proxy that is left is told so, and asked whose connections may be ended.
_POLL_S = 0.5
# After its answer a connection is ended not before the first, when the answer has arrived, and not
# after the second: the device may have registered by it again. The proxy tells whole seconds: the
# age is up to one less.
_ANSWERED_S, _BACK_S = 1.3, 3.5
_ENDED_S = 5


def __virtual__():
    return __virtualname__


def rules():
    """Return the file of table `inet voip_shared`, as the pillar says."""
    shared = __pillar__["voip"]["shared"]
    first = shared["primary"]
    return voip_nft.entrance(shared["interface"], first, shared["ways"][first])


def primary():
    """Return the proxy that new connections go to now, None while nobody gets any."""
    listing = __salt__["voip_firewall.live"](voip_nft.SHARED_TABLE)
    return voip_nft.entrance_of(listing)


def ready(proxy):
    """Raise CommandExecutionError unless `proxy` can take everybody's calls; returns True.

    By its listener (TLS, OPTIONS), its peers and its database. Redis is not asked: without it calls
    come through as well.
    """
    if proxy not in __pillar__["voip"]["shared"]["ways"]:
        raise CommandExecutionError(f"{proxy} does not run on this host")
    probes = __pillar__["voip"]["probes"]
    for name in (proxy, "pgbouncer"):
        if why := voip_probe.ask_all(probes.get(name, [])):
            raise CommandExecutionError(f"{proxy} cannot take over: {name}: {why}")
    try:
        return __salt__[f"{proxy}.reaches_peers"]()
    except CommandExecutionError as err:
        raise CommandExecutionError(f"{proxy} cannot take over: {err}") from err


def counts():
    """Return {"primary", "proxies": {name: {"registered", "calls"}}}; None of one that is down."""
    found = {}
    for name in sorted(__pillar__["voip"]["shared"]["ways"]):
        try:
            found[name] = _held(name)
        except CommandExecutionError:
            found[name] = None
    return {"primary": primary(), "proxies": found}


def leave(proxy, run, seconds=5):
    """Have who renews a registration at `proxy` come again, which brings it to the primary.

    run: names this switch: each registration is asked once in it. For so many seconds: call it
    again to go on; a proxy that is not told so any more keeps its devices. Returns {"moved":
    [number]} and what `counts` tells of the proxy.

    The proxy answers such a device that it is to come again in some seconds (route MOVE), and here
    its connection is ended by the kernel: OpenSIPS ends none by itself.
    """
    if proxy == primary():
        raise CommandExecutionError(f"{proxy} is the primary: nobody is sent away from it")
    moved = []
    ends = time.monotonic() + float(seconds)
    try:
        while time.monotonic() < ends:
            __salt__[f"{proxy}.leave"](run)
            moved += _send(proxy)
            time.sleep(_POLL_S)
    finally:
        __salt__[f"{proxy}.stay"]()
    while __salt__[f"{proxy}.parting"]():
        moved += _send(proxy)
        time.sleep(_POLL_S)
    return {"moved": sorted(moved)} | _held(proxy)


def _held(proxy):
    legs = __salt__[f"{proxy}.dialogs"]()
    return {
        "registered": __salt__[f"{proxy}.registered"](),
        "calls": sum(leg["state"] in ("early", "confirmed") for leg in legs),
    }


def _send(proxy):
    """End the connections of those who have had their answer; returns the numbers.

    Who has begun a call since, or may be back already by the same connection, is asked again.
    """
    parting = __salt__[f"{proxy}.parting"]()
    due = {end: told for end, told in parting.items() if told["age_s"] >= _ANSWERED_S}
    if not due:
        return []
    busy = voip_proxy.busy_numbers(__salt__[f"{proxy}.dialogs"]())
    moved = []
    for end, told in due.items():
        stays = told["number"] in busy or told["age_s"] > _BACK_S
        if not stays:
            _end(end)
            moved.append(told["number"])
        __salt__[f"{proxy}.parted"](end, told["asked"] if stays else None)
    return moved


def _end(end):
    address, _, port = end.rpartition(":")
    address = ipaddress.ip_address(address.strip("[]"))
    peer = f"[{address}]:{int(port)}" if address.version == 6 else f"{address}:{int(port)}"
    argv = ["ss", "--no-header", "--kill", "--tcp", "--numeric", "state", "established"]
    try:
        done = subprocess.run(
            [*argv, "dst", peer], capture_output=True, text=True, timeout=_ENDED_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as err:
        raise CommandExecutionError(f"ss --kill: {err}") from err
    if done.returncode or done.stderr.strip():
        raise CommandExecutionError(f"ss --kill: {done.stderr.strip() or done.returncode}")
