"""Ask the running proxy, by JSON-RPC over its control socket, and check its configuration.

The socket is a datagram socket under /run/kamailio that root and the group kamailio may use.
Answers that do not fit a datagram (about 200 KiB) raise CommandExecutionError; ask for one user, or
use `kamcmd`.
"""

import contextlib
import os
import time

import voip_datagram
import voip_kamailio
import voip_proxy
from salt.exceptions import CommandExecutionError
from voip_errors import NotFound

__virtualname__ = "kamailio"

CONTROL_SOCKET = "/run/kamailio/rpc.sock"
_ABSENT = ("AOR not found", "AOR has no contacts", "No such htable", "Key not found")
# What each table's file needs to be read again, without a restart.
_RELOADS = {
    "tls.cfg": "tls.reload",
    "dispatcher.list": "dispatcher.reload",
    "address.list": "permissions.addressReload",
    "tables/destination": "htable.reload",
    "tables/feature": "htable.reload",
    "tables/rtpengine": "rtpengine.reload",
}
_NO_TABLE = ("No htable db_url", "No such htable", "No Database URL")
# The table with HA1s of subscribers, and the only thing to be done with it: a job's return is kept.
_DIGESTS, _FORGET = "known", "htable.flush"
# The rtpengine module reads its table at most every ten seconds, permissions every five.
_TOO_SOON = ("try later", "ongoing reload")
_PATIENCE_S = 15
_ARGUMENTS = {"tables/destination": ["destination"], "tables/feature": ["feature"]}


def __virtual__():
    return __virtualname__


def rpc(method, *params, timeout_s=5):
    """Call one RPC of the proxy; returns its result as decoded JSON.

    Raises NotFound for a user or table that the proxy does not have, Unavailable when it does not
    run, CommandExecutionError when it refuses otherwise or does not answer, or would tell digests.
    """
    if _DIGESTS in params and method != _FORGET:
        raise CommandExecutionError(f"{method} {_DIGESTS}: digests are not told")
    result, error = voip_datagram.call(CONTROL_SOCKET, method, list(params), timeout_s)
    if error:
        message = error.get("message", "refused")
        # The proxy has one code (500) for everything: only its words tell what is merely absent.
        kind = NotFound if message.startswith(_ABSENT) else CommandExecutionError
        raise kind(f"{method}: {message}")
    return result


def ping():
    """Tell that the proxy runs and answers: {"version", "uptime_s"}. Raises when it does not."""
    return {"version": rpc("core.version"), "uptime_s": rpc("core.uptime").get("uptime")}


def connections():
    """Return the TLS connections, WebSocket ones included.

    Each: id, remote and local ("address:port"), tls ("TLSv1.3"), cipher, bits, server_name, state
    ("established", ...).
    """
    found = voip_kamailio.tls_connections(rpc("tls.list") or [])
    return found + voip_kamailio.websockets(rpc("core.tcp_list") or [], rpc("htable.dump", "wss"))


def tls_connections():
    """As `connections`."""
    return connections()


def registrations(number):
    """Return the contacts of one subscriber, an empty list when it is not registered.

    Each: contact, received, socket, expires_s, user_agent, call_id, connection_id.
    """
    try:
        # Salt's command line makes an integer of 1002.
        return voip_kamailio.contacts(rpc("ul.lookup", "location", str(number)))
    except NotFound:
        return []


def unregister(number):
    """Remove every contact of one subscriber; tells whether there was one."""
    known = bool(registrations(number))
    if known:
        rpc("ul.rm", "location", str(number))
    return known


def registered():
    """Return how many numbers are registered."""
    users = voip_kamailio.statistics(rpc("stats.get_statistics", "usrloc:") or [])
    return users.get("location-users", users.get("registered_users", 0))


def leave(run):
    """Have each device that renews come again, for voip_proxy.MOVING_S: see voip_shared.leave."""
    rpc("htable.sets", "move", "run", str(run))


def stay():
    """End `leave`."""
    with contextlib.suppress(NotFound):
        rpc("htable.delete", "move", "run")


def parting():
    """Return who was told to come again: see voip_proxy.parting."""
    try:
        entries = voip_kamailio.table_entries(rpc("htable.dump", "parting") or [])
    except NotFound:
        return {}
    return voip_proxy.parting(entries, time.time())


def parted(end, asked=None):
    """Forget one of `parting`; asked: of one that is to be asked again."""
    rpc("htable.delete", "parting", end)
    if asked:
        rpc("htable.delete", "asked", asked)


def forget_subscribers():
    """Forget what is remembered of subscribers: each is asked of the database again."""
    rpc(_FORGET, _DIGESTS)


def dispatchers():
    """Return the PBXs as probed: [{uri, state, latency_ms}].

    state: "active", "inactive" (does not answer), "trying" or "disabled".
    """
    return voip_kamailio.destinations(rpc("dispatcher.list"))


def media_relays():
    """Return the RTPEngines: [{url, state}], state "active", "inactive" or "drained"."""
    return voip_kamailio.media_relays(rpc("rtpengine.show", "all") or [])


def dialogs():
    """Return the calls that are set up or going on: [{call_id, from, to, state, since, ref}]."""
    return voip_kamailio.dialogs(rpc("dlg.list") or [])


def counters(group="script"):
    """Return what was counted since the start: {"cleartext_refused": 3, ...}.

    group: "script" for what the routing counts, mostly refusals; "core" for messages received.
    """
    return voip_kamailio.statistics(rpc("stats.get_statistics", f"{group}:") or [])


def pool_used():
    """Return the bytes that are used of the memory that all its processes share."""
    return int(rpc("core.shmmem")["real_used"])


def pool_size():
    """Return the bytes of that memory in all."""
    return int(rpc("core.shmmem")["total"])


def bans(timeout_s=5):
    """Return who is shut out: [{source, reason, left_s}], see `voip_proxy.bans`."""
    try:
        found = rpc("htable.dump", "ipban", timeout_s=timeout_s)
        entries = voip_kamailio.table_entries(found or [])
    except NotFound:
        return []
    return voip_proxy.bans(entries, time.time())


def unban(source):
    """Let a source in again, its wrong passwords forgotten; tells whether it was banned.

    source: an address, or an IPv6 network of 64 bits, as `bans` tells it.
    """
    key = voip_proxy.ban_key(source)
    known = any(voip_proxy.ban_key(row["source"]) == key for row in bans())
    if known:
        rpc("htable.delete", "ipban", key)
        with contextlib.suppress(NotFound):
            rpc("htable.delete", "authfail", key)
    return known


def status():
    """Return version, uptime, PBXs, RTPEngines, who is connected, what was refused."""
    users = voip_kamailio.statistics(rpc("stats.get_statistics", "usrloc:") or [])
    return ping() | {
        "connections": len(connections()),
        "dialogs": len(dialogs()),
        "registered_users": users.get("registered_users", 0),
        "pbxs": dispatchers(),
        "media": media_relays(),
        "bans": bans(),
        "counters": counters(),
    }


def reaches_peers():
    """Raise CommandExecutionError unless a PBX and an RTPEngine answer this proxy; returns True.

    RTPEngines are asked anew: one that was down at the last try is otherwise left out for
    rtpengine_disable_tout, and tried again only by a call.
    """
    for relay in media_relays():
        rpc("rtpengine.ping", relay["url"])
    voip_proxy.require_active("RTPEngine", "url", media_relays())
    voip_proxy.require_active("PBX", "uri", dispatchers())
    return True


def reload_tables(files):
    """Have the running proxy read the named tables again; returns the RPCs that were called.

    files: names, such as ["tls.cfg"]. Open TLS connections and calls go on untouched.
    """
    read = [name for name in sorted(files) if name in _RELOADS]
    for name in read:
        try:
            _patiently(_RELOADS[name], *_ARGUMENTS.get(name, []))
        except CommandExecutionError as err:
            # An older routing has no such table: it is replaced, and the proxy restarted, next.
            if not str(err).endswith(_NO_TABLE):
                raise
    return [_RELOADS[name] for name in read]


def _patiently(method, *params):
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return rpc(method, *params)
        except CommandExecutionError as err:
            if not str(err).endswith(_TOO_SOON) or time.monotonic() > deadline:
                raise
        time.sleep(0.5)


def reload_tls():
    """Have new connections use certificate and revocation lists that are on disk now. Returns True.

    Lists that are missing or have ended are taken out of tls.cfg first, good ones put in: with a
    bad file the proxy would keep the old certificate, or refuse every peer. The proxy makes a
    context for each of its processes: 0.2 s, more on a loaded machine.
    """
    wanted = {"tls.cfg": tables(__pillar__["voip"])["tls.cfg"]}
    if revocation_file() != voip_kamailio.revocation_file(wanted["tls.cfg"]):
        __salt__["voip_config.install"](voip_kamailio.CONFIG_DIR, wanted, **voip_kamailio.OWNER)
    rpc("tls.reload", timeout_s=15)
    return True


def check_config(directory):
    """Try the configuration in `directory` with the daemon's own parser; returns True.

    Raises CommandExecutionError with file, line and reason when it is refused.
    """
    command = ["/usr/sbin/kamailio", "-c", "-f", os.path.join(directory, "kamailio.cfg")]
    return voip_proxy.checked(command, directory, voip_kamailio.check_errors)


def routing_files(source, voip, saltenv="base"):
    """Return {name: text} of everything that the proxy reads once, at its start.

    source: salt:// directory of the routing files. voip: pillar['voip'].
    """
    files = voip_proxy.fetched(__salt__, source, "kamailio.cfg", saltenv)
    return files | {
        "defines.cfg": voip_kamailio.defines(voip),
        "shared.cfg": voip_kamailio.shared_listeners(voip),
    }


def tables(voip):
    """Return {name: text} of what the proxy can read again while it runs."""
    return voip_kamailio.tables(voip, crl=__salt__["voip_crl.usable"]("kamailio"))


def revocation_file():
    """Return the file of revocation lists that the proxy is told to check by, None without one."""
    found = voip_proxy.current_files(voip_kamailio.CONFIG_DIR, ["tls.cfg"])
    return voip_kamailio.revocation_file(found.get("tls.cfg", ""))
