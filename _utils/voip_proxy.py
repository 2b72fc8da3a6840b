"""What both proxies share: values worked out of the pillar, and how their files converge."""

import contextlib
import difflib
import ipaddress
import os
import re
import subprocess

from salt.exceptions import CommandExecutionError, SaltInvocationError
from voip_ng import refused_suites

TLS_DIR = "/etc/voip-stack/tls"

# TLS 1.2 with forward secrecy and AEAD only; TLS 1.3 has no others.
CIPHERS = (
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256"
)

# Column of `subscriber` that holds the digest, by algorithm (RFC 7616).
HA1_COLUMNS = {"MD5": "ha1", "SHA-256": "ha1_sha256"}

# RTPEngine flags that every message carries.
MEDIA_COMMON = "replace-origin replace-session-connection strict-source"


def require_active(what, key, rows):
    """Raise CommandExecutionError unless one of these peers answers the proxy.

    what: for people, as "PBX". rows: [{key: its URI, "state"}], as the proxy tells them.
    """
    if not any(row["state"] == "active" for row in rows):
        raise CommandExecutionError(f"no {what} answers: {[row[key] for row in rows]}")


def shared_values(voip, component, config_dir):
    """Return [(V_WORD, value)] that the routing of both proxies is written with.

    voip: dict, the minion's pillar['voip']. component: `kamailio` or `opensips`. Raises KeyError
    where the pillar lacks a value: the schema does not let that happen.
    """
    settings, routing, ports = voip[component], voip["routing"], voip["ports"][component]
    expires, pike = routing["register_expires_s"], routing["pike"]
    return [
        ("V_TABLES_DIR", f"{config_dir}/tables"),
        ("V_DOMAIN", voip["site"]["domain"]),
        ("V_INT_IP", voip["self"]["addresses"]["internal"]),
        ("V_TLS_PORT", ports["sip-tls"]),
        ("V_WSS_PORT", ports["wss"]),
        ("V_OWN_PORTS", "|".join(str(port) for port in _own_ports(voip, component))),
        ("V_CHILDREN", settings["children"]),
        ("V_TCP_WORKERS", settings["tcp_workers"]),
        ("V_TCP_LIFETIME_S", expires["max"] + 5),
        # Without a host: libpq takes the pooler's socket from PGHOST and PGPORT (systemd drop-in).
        ("V_DB_URL", "postgres://{user}@/{name}".format(**settings["database"])),
        ("V_LOCATIONS_URL", "postgres://{user}@/{locations}".format(**settings["database"])),
        ("V_DIGEST_ALGORITHM", routing["digest_algorithm"]),
        ("V_HA1_COLUMN", HA1_COLUMNS[routing["digest_algorithm"]]),
        ("V_MAX_BYTES", routing["max_message_bytes"]),
        ("V_MAX_FORWARDS", routing["max_forwards"]),
        ("V_EXPIRES_MIN", expires["min"]),
        ("V_EXPIRES_DEFAULT", expires["default"]),
        ("V_EXPIRES_MAX", expires["max"]),
        # For so long after it a registration may be repeated without a write.
        ("V_REPEATED_S", expires["max"] // 4),
        ("V_MAX_CONTACTS", routing["max_contacts"]),
        ("V_LOCATION_NAME", location_name(voip["self"]["name"], component)),
        # The link to Redis, salt/location.
        ("V_LOCATION_HOST", "127.0.0.1"),
        ("V_LOCATION_PORT", settings["location_port"]),
        # Told again within half of it, by whoever registers.
        ("V_LOCATION_TOLD_S", expires["max"]),
        ("V_LOCATION_KEPT_S", 2 * expires["max"]),
        ("V_MOVE_S", MOVE_S),
        ("V_MOVING_S", MOVING_S),
        ("V_FLOOD_WINDOW_S", pike["seconds"]),
        ("V_FLOOD_REQUESTS", pike["requests"]),
        ("V_FLOOD_BAN_S", pike["ban_s"]),
        *_storm_values(routing["registrations"]),
        *_toll_values(voip["toll"]),
        ("V_SCANNERS", "|".join(routing["scanners"])),
        ("V_PROBE_INTERVAL_S", routing["probe_interval_s"]),
        ("V_RETRY_AFTER_S", routing["retry_after_s"]),
        *media_flags(routing["srtp_suites"], bool(voip["self"].get("ipv6"))),
    ]


_NUMBER = re.compile(r"sips?:([^@;]+)@")

# A device that is to come by a new connection is told so long a life of its registration, and for
# so long calls to it are told to wait.
MOVE_S, MOVING_S = 5, 10


def shared_addresses(voip):
    """Return the addresses, beside the host's own, that devices come to (salt/shared)."""
    return voip.get("shared", {}).get("addresses", [])


def shared_ways(voip, component):
    """Return a proxy's listeners there: [{name, proto, address, port, to_port}]."""
    return voip.get("shared", {}).get("ways", {}).get(component, [])


def _own_ports(voip, component):
    """By which SIP comes over TLS, those of the shared address included."""
    secure = ("sip-tls", "wss")
    ways = shared_ways(voip, component)
    own = {voip["ports"][component][name] for name in secure}
    return sorted(own | {way["port"] for way in ways if way["name"] in secure})


def busy_numbers(dialogs):
    """The numbers that have a call, of a proxy's dialogs. One to a device that is on its way, which
    the proxy just refuses, is none: it is not even ringing.
    """
    found = set()
    for dialog in dialogs:
        if dialog["state"] == "ended":
            continue
        ends = ("from",) if dialog["state"] == "unconfirmed" else ("from", "to")
        found |= {uri.group(1) for end in ends if (uri := _NUMBER.match(dialog[end] or ""))}
    return found


def parting(entries, now):
    """Who was told to come again: {"address:port": {"number", "asked", "age_s"}}.

    entries: [("address:port", "NUMBER TIME ASKED")] as the routing stores them. asked: the key by
    which it is asked only once.
    """
    found = {}
    for end, value in entries:
        number, told, asked = value.split(" ", 2)
        found[end] = {"number": number, "asked": asked, "age_s": now - int(told)}
    return found


def location_name(host, component):
    """Return the name by which a proxy tells the others that it has devices of a number."""
    return f"{host}/{component}"


def invite_timeout_s(routing):
    """Return how long a proxy waits for an INVITE's final answer, in seconds.

    It is the PBX that ends ringing, and that may ring at another number then: the proxy is not to
    be there first. More than three minutes, as RFC 3261 16.6 (11) has it.
    """
    return max(181, 3 * routing["ring_timeout_s"])


def _storm_values(allowed):
    return [
        ("V_ALL_REGISTERS", allowed["per_second"]),
        ("V_SOURCE_REGISTERS", allowed["per_source"]),
        ("V_SPREAD_S", allowed["spread_s"]),
        ("V_LONGEST_WAIT_S", allowed["longest_wait_s"]),
    ]


def _toll_values(toll):
    failures = toll["auth_failures"]
    return [
        ("V_COUNTRY_CODE", toll["country_code"]),
        ("V_DESTINATIONS", ",".join(sorted(toll["allowed"])) or "none"),
        ("V_CALLS_AT_ONCE", toll["calls"]["at_once"]),
        ("V_CALLS_PER_MINUTE", toll["calls"]["per_minute"]),
        ("V_AUTH_PER_USER", failures["user"]),
        ("V_AUTH_PER_SOURCE", failures["source"]),
        ("V_AUTH_WINDOW_S", failures["window_s"]),
        ("V_AUTH_BAN_S", failures["ban_s"]),
        ("V_SLOW_S", toll["slow_s"]),
    ]


def destination_classes(toll):
    """Return [(prefix, class)] of destinations outside, sorted. toll: pillar['voip']['toll']."""
    return sorted(
        (prefix, name) for name, prefixes in toll["destinations"].items() for prefix in prefixes
    )


def bans(entries, now):
    """Return who is shut out: [{source, reason, left_s}], sorted by source.

    entries: [(key, "REASON ENDS")] as the routing stores them. source: "198.51.100.7", or an IPv6
    network of 64 bits. reason: "flood" (too many requests) or "auth" (wrong passwords). ENDS and
    now: seconds since 1970.
    """
    found = []
    for key, value in entries:
        reason, _, ends = str(value).partition(" ")
        left_s = max(0, int(ends or 0) - int(now))
        found.append({"source": ban_source(key), "reason": reason, "left_s": left_s})
    return sorted(found, key=lambda row: row["source"])


def ban_source(key):
    """Return a ban's source as people write it; an IPv6 network's key has all four groups."""
    return str(ipaddress.ip_network(f"{key}/64")) if ":" in key else key


def ban_key(source):
    """Return the proxy's key of the ban of an address or network; the reverse of ban_source.

    An IPv6 address stands for its network. Raises SaltInvocationError for what is neither.
    """
    try:
        address = ipaddress.ip_network(str(source), strict=False).network_address
    except ValueError as err:
        raise SaltInvocationError(f"an address or a network expected: {source}") from err
    if address.version == 4:
        return str(address)
    groups = [format(int(group, 16), "x") for group in address.exploded.split(":")[:4]]
    return ":".join(groups) + "::"


def media_relay_url(voip, name):
    """Return the control socket of a relay, by its name; it is there wherever the relay is."""
    port = voip["ports"]["rtpengine"]["ng"]
    address = next(item["internal"] for item in voip["relays"] if item["name"] == name)
    return f"udp:{address}:{port}"


def media_flags(suites, has_ipv6=False):
    """Return [(name, RTPEngine flags)] by kind of recipient; all of them are SRTP.

    suites: list of the SRTP suites that may be offered (RFC 4568 and RFC 7714 names). has_ipv6:
    devices may have it; the PBX, whose network is IPv4, gets an offer of that all the same.
    """
    refused = " ".join(refused_suites(suites))
    sdes = f"{MEDIA_COMMON} RTP/SAVP ICE=remove rtcp-mux-demux {refused}".rstrip()
    browser = f"{MEDIA_COMMON} UDP/TLS/RTP/SAVPF ICE=force rtcp-mux-offer generate-mid SDES-off"
    return [
        ("V_MEDIA_PBX", f"{sdes} address-family=IP4" if has_ipv6 else sdes),
        ("V_MEDIA_DEVICE", sdes),
        ("V_MEDIA_BROWSER", browser),
        ("V_MEDIA_ANSWER", f"{MEDIA_COMMON} {refused}".rstrip()),
    ]


def fetched(salt, source, main, saltenv="base"):
    """Return {name: text} of the routing files below `source`, a salt:// directory.

    salt: the minion's __salt__. main: the file that includes the others. Raises
    CommandExecutionError where one cannot be had.
    """
    root = source.removeprefix("salt://").rstrip("/") + "/"
    files = {}
    for path in salt["cp.list_master"](saltenv, prefix=root):
        if path.endswith(".cfg"):
            cached = salt["cp.cache_file"](f"salt://{path}", saltenv)
            if not cached:
                raise CommandExecutionError(f"salt://{path} could not be fetched")
            with open(cached, encoding="utf-8") as file:
                files[path.removeprefix(root)] = file.read()
    if main not in files:
        raise CommandExecutionError(f"no {main} below {source}")
    return files


def checked(command, directory, reasons):
    """Run a proxy's own parser on the configuration in `directory`; returns True.

    reasons: function that picks them out of what the parser wrote. Raises CommandExecutionError
    with file, line and reason when the configuration is refused.
    """
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode == 0:
        return True
    found = reasons(done.stderr + done.stdout)
    where = "; ".join(reason.replace(f"{directory}/", "") for reason in found)
    raise CommandExecutionError(
        f"the proxy's parser refuses the new configuration, the old one stays: {where}"
    )


def current_files(directory, names):
    """Return {name: text} of those of `names` that exist in `directory`."""
    found = {}
    for name in names:
        with (
            contextlib.suppress(FileNotFoundError),
            open(os.path.join(directory, name), encoding="utf-8", errors="replace") as file,
        ):
            found[name] = file.read()
    return found


def changed_files(current, wanted, context_lines=2, limit_lines=60):
    """Compare {name: text}; return {name: unified diff}, an empty dict when equal.

    A name that only `current` has is a removal. Diffs are cut at limit_lines.
    """
    changes = {}
    for name in sorted({*current, *wanted}):
        old, new = current.get(name), wanted.get(name)
        if old == new:
            continue
        diff = list(
            difflib.unified_diff(
                (old or "").splitlines(),
                (new or "").splitlines(),
                "absent" if old is None else name,
                "absent" if new is None else name,
                lineterm="",
                n=context_lines,
            )
        )
        if len(diff) > limit_lines:
            diff = [*diff[:limit_lines], f"... {len(diff) - limit_lines} more lines"]
        changes[name] = "\n".join(diff)
    return changes
