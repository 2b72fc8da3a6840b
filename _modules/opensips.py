"""Ask the running OpenSIPS, by its management interface (MI), and check its configuration.

MI is JSON-RPC over a datagram socket under /run/opensips that root and the group opensips may use.
What both proxies can tell, they tell by functions of the same name: see the kamailio module.
"""

import glob
import os
import subprocess
import time

import voip_datagram
import voip_opensips
import voip_proxy
from salt.exceptions import CommandExecutionError
from voip_errors import NotFound

__virtualname__ = "opensips"

CONTROL_SOCKET = "/run/opensips/mi.sock"
# What lays the certificate where the daemon reads it (salt/opensips/files).
TLS_TABLES = "/usr/local/lib/voip-stack/opensips_tls_tables.py"
_MODULES = "/usr/lib/*/opensips/modules/"
_PROGRAM = "/usr/sbin/opensips"
_LOCATION = "location_opensips"
# What each table's file needs to be read again, without a restart. Groups are read at each call.
_RELOADS = {
    "tables/dispatcher": "ds_reload",
    "tables/address": "address_reload",
    "tables/rtpengine": "rtpengine_reload",
    "tables/destination": "sql_cacher_reload",
}
_ARGUMENTS = {"tables/destination": {"id": "destination"}}
# The collection with HA1s of subscribers, and the only thing to be done with it: a job's return is
# kept.
_DIGESTS, _FORGET = "known", "cache_remove_chunk"


def __virtual__():
    return __virtualname__


def mi(method, timeout_s=5, **params):
    """Call one method of the management interface; returns its result as decoded JSON.

    Raises NotFound for a user that the proxy does not have, Unavailable when it does not run,
    CommandExecutionError when it refuses otherwise or does not answer, or would tell digests.
    """
    about = {str(value) for value in params.values()}
    if about & {_DIGESTS, f"local:{_DIGESTS}"} and method != _FORGET:
        raise CommandExecutionError(f"{method} {_DIGESTS}: digests are not told")
    params = {name: value for name, value in params.items() if not name.startswith("__")}
    result, error = voip_datagram.call(CONTROL_SOCKET, method, params, timeout_s)
    if error:
        kind = NotFound if error.get("code") == 404 else CommandExecutionError
        raise kind(f"{method}: {error.get('message', 'refused')}")
    return result


def ping():
    """Tell that the proxy runs and answers: {"version", "uptime_s"}. Raises when it does not."""
    return {
        "version": mi("version")["Server"],
        "uptime_s": voip_opensips.seconds(mi("uptime")["Up time"]),
    }


def connections():
    """Return the TLS connections, WebSocket ones included: as kamailio.connections.

    tls and cipher are None of one that no SIP message has come by yet.
    """
    noted = _cached("tls")["keys"]
    return voip_opensips.tls_connections(mi("list_tcp_conns")["Connections"], noted)


def registrations(number):
    """Return the contacts of one subscriber, an empty list when it is not registered.

    Each: contact, received, socket, expires_s, user_agent, call_id.
    """
    try:
        # Salt's command line makes an integer of 1002.
        return voip_opensips.contacts(mi("ul_show_contact", table_name=_LOCATION, aor=str(number)))
    except NotFound:
        return []


def unregister(number):
    """Remove every contact of one subscriber; tells whether there was one."""
    known = bool(registrations(number))
    if known:
        mi("ul_rm", table_name=_LOCATION, aor=str(number))
    return known


def forget_subscribers():
    """Forget what is remembered of subscribers: each is asked of the database again."""
    mi(_FORGET, glob="*", collection=_DIGESTS)


def registered():
    """Return how many numbers are registered."""
    return _statistics("usrloc").get(f"{_LOCATION}-users", 0)


def leave(run):
    """Have each device that renews come again, for voip_proxy.MOVING_S: see voip_shared.leave."""
    mi("cache_store", system="local:move", attr="run", value=str(run), expire=voip_proxy.MOVING_S)


def stay():
    """End `leave`."""
    mi("cache_remove", system="local:move", attr="run")


def parting():
    """Return who was told to come again: see voip_proxy.parting."""
    return voip_proxy.parting(voip_opensips.table_entries(_cached("parting")), time.time())


def parted(end, asked=None):
    """Forget one of `parting`; asked: of one that is to be asked again."""
    mi("cache_remove", system="local:parting", attr=end)
    if asked:
        mi("cache_remove", system="local:asked", attr=asked)


def dispatchers():
    """Return the PBXs as probed: [{uri, state}], state "active", "inactive" or "probing"."""
    return voip_opensips.destinations(mi("ds_list"))


def media_relays():
    """Return the RTPEngines: [{url, state}], state "active", "inactive" or "drained"."""
    return voip_opensips.media_relays(mi("rtpengine_show"))


def dialogs():
    """Return the calls that are set up or going on: as kamailio.dialogs."""
    return voip_opensips.dialogs(mi("dlg_list_ctx")["Dialogs"])


def counters(group="script"):
    """Return what was counted since the start: as kamailio.counters."""
    return _statistics(group)


def pool_used():
    """Return the bytes that are used of the memory that all its processes share."""
    return _statistics("shmem")["real_used_size"]


def pool_size():
    """Return the bytes of that memory in all."""
    return _statistics("shmem")["total_size"]


def _statistics(group):
    found = mi("get_statistics", statistics=[f"{group}:"])
    return {name.partition(":")[2]: int(value) for name, value in found.items()}


def bans(timeout_s=5):
    """Return who is shut out: [{source, reason, left_s}], see `voip_proxy.bans`."""
    entries = voip_opensips.table_entries(_cached("ipban", timeout_s))
    # What has ended is in memory until somebody asks for it, or it is swept.
    return [row for row in voip_proxy.bans(entries, time.time()) if row["left_s"]]


def unban(source):
    """Let a source in again, its wrong passwords forgotten; tells whether it was banned.

    source: an address, or an IPv6 network of 64 bits, as `bans` tells it.
    """
    key = voip_proxy.ban_key(source)
    known = any(voip_proxy.ban_key(row["source"]) == key for row in bans())
    if known:
        for collection in ("ipban", "authfail"):
            mi("cache_remove", system=f"local:{collection}", attr=key)
    return known


def _cached(collection, timeout_s=5):
    """All of a collection of the proxy's memory, as `cache_fetch_chunk` answers."""
    return mi("cache_fetch_chunk", timeout_s=timeout_s, glob="*", collection=collection)


def status():
    """Return version, uptime, PBXs, RTPEngines, who is connected, what was refused."""
    return ping() | {
        "connections": len(connections()),
        "dialogs": len(dialogs()),
        "registered_users": _statistics("usrloc").get("registered_users", 0),
        "pbxs": dispatchers(),
        "media": media_relays(),
        "bans": bans(),
        "counters": counters(),
    }


def reaches_peers():
    """Raise CommandExecutionError unless a PBX and an RTPEngine answer this proxy; returns True."""
    voip_proxy.require_active("RTPEngine", "url", media_relays())
    voip_proxy.require_active("PBX", "uri", dispatchers())
    return True


def reload_tables(files):
    """Have the running proxy read the named tables again; returns the MI methods that were called.

    files: names, such as ["tls.json"]. Open TLS connections and calls go on untouched.
    """
    read = [name for name in sorted(files) if name in _RELOADS]
    for name in read:
        mi(_RELOADS[name], **_ARGUMENTS.get(name, {}))
    called = [_RELOADS[name] for name in read]
    if "tls.json" in files:
        _lay_tls_tables()
        mi("tls_reload", timeout_s=15)
        called.append("tls_reload")
    return called


def reload_tls():
    """Have new connections use certificate and revocation lists that are on disk now. Returns True.

    As kamailio.reload_tls. A pair that is none never gets there: OpenSIPS would leave its listeners
    without a certificate.
    """
    wanted = {"tls.json": tables(__pillar__["voip"])["tls.json"]}
    if revocation_file() != voip_opensips.revocation_file(wanted["tls.json"]):
        __salt__["voip_config.install"](voip_opensips.CONFIG_DIR, wanted, **voip_opensips.OWNER)
    _lay_tls_tables()
    mi("tls_reload", timeout_s=15)
    return True


def _lay_tls_tables():
    settings = os.path.join(voip_opensips.CONFIG_DIR, "tls.json")
    done = subprocess.run(
        ["/usr/bin/python3", TLS_TABLES, settings], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise CommandExecutionError(
            f"OpenSIPS' certificate could not be laid out: {done.stderr.strip().splitlines()[-1]}"
        )


def check_config(directory):
    """Try the configuration in `directory` with the daemon's own parser; returns True.

    Raises CommandExecutionError with file, line and reason when it is refused.
    """
    command = [_root() + _PROGRAM, "-C", "-f", os.path.join(directory, "opensips.cfg")]
    return voip_proxy.checked(command, directory, voip_opensips.check_errors)


def routing_files(source, voip, saltenv="base"):
    """Return {name: text} of everything that the proxy reads once, at its start.

    source: salt:// directory of the routing files. voip: pillar['voip'].
    """
    # Where the package has its modules depends on the architecture.
    modules = next(iter(glob.glob(_root() + _MODULES)), None)
    if modules is None:
        raise CommandExecutionError(f"no {_MODULES}: is the package opensips installed?")
    files = voip_proxy.fetched(__salt__, source, "opensips.cfg", saltenv)
    found = voip_opensips.values(voip, modules)
    texts = {name: voip_opensips.substituted(text, found) for name, text in files.items()}
    return texts | {"sockets.cfg": voip_opensips.sockets(voip)}


def _root():
    """Where the package is: elsewhere in tests of its parser."""
    return __opts__.get("opensips_root", "")


def tables(voip):
    """Return {name: text} of what the proxy can read again while it runs."""
    return voip_opensips.tables(voip, crl=__salt__["voip_crl.usable"]("opensips"))


def revocation_file():
    """Return the file of revocation lists that the proxy is told to check by, None without one."""
    found = voip_proxy.current_files(voip_opensips.CONFIG_DIR, ["tls.json"])
    return voip_opensips.revocation_file(found.get("tls.json", ""))
