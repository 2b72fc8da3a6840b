"""The proxy's files that depend on the pillar, as text, and the parsing of what the proxy reports.

Routing is in salt/kamailio/files and holds no value; every value is here.
"""

import ipaddress
import re

from voip_ng import endpoint
from voip_proxy import (
    CIPHERS,
    TLS_DIR,
    destination_classes,
    invite_timeout_s,
    media_relay_url,
    shared_addresses,
    shared_values,
    shared_ways,
)

CONFIG_DIR = "/etc/kamailio/voip"
# Of every file in it: what voip_config takes.
OWNER = {"user": "root", "group": "kamailio"}

# Columns of an htable's file, for Kamailio's db_text module.
HTABLE_COLUMNS = "key_name(string) key_type(int) value_type(int) key_value(string) expires(int)"


def defines(voip, config_dir=CONFIG_DIR):
    """Return the text of defines.cfg.

    voip: dict, the minion's pillar['voip']. Every V_SOMETHING of a routing file is defined here.
    Raises KeyError where the pillar lacks one: the schema does not let that happen.
    """
    lines = ["# Written by Salt from the pillar: addresses, ports, switches. Nothing secret."]
    lines += [f'#!substdef "!{name}!{value}!g"' for name, value in _values(voip, config_dir)]
    if "external" in voip["self"]["addresses"]:
        lines.append("#!define WITH_EXTERNAL")
    lines += _ipv6_lines(voip)
    return "\n".join(lines) + "\n"


def _ipv6_lines(voip):
    """Of a proxy that devices reach by IPv6: the address as listeners have it, and as a pattern of
    all that are its own."""
    address = voip["self"].get("ipv6", {}).get("external")
    if address is None:
        return []
    own = [address, *(item for item in shared_addresses(voip) if ":" in item)]
    return [
        f"#!define EXTERNAL_IPV6 [{address}]",
        f'#!substdef "!V_IPV6_PATTERN!.({"|".join(own)}).!g"',
    ]


def shared_listeners(voip):
    """Return the text of shared.cfg: the listeners at the shared address, each of which says the
    port by which devices come there. Nothing on a host without one.
    """
    kinds = {"sip-tls": "tls", "wss": "tls", "sip-udp": "udp", "sip-tcp": "tcp", "ws": "tcp"}
    lines = ["# Written by Salt from the pillar: listeners at the shared address."]
    lines += [
        f"listen={kinds[way['name']]}:{endpoint(way['address'], way['to_port'])}"
        f" advertise {endpoint(way['address'], way['port'])}"
        for way in shared_ways(voip, "kamailio")
    ]
    return "\n".join(lines) + "\n"


def _values(voip, config_dir):
    routing, ports, addresses = (
        voip["routing"],
        voip["ports"]["kamailio"],
        voip["self"]["addresses"],
    )
    own = {addresses.get("external", addresses["internal"]), addresses["internal"]}
    own |= {item for item in shared_addresses(voip) if ":" not in item}
    return [
        *shared_values(voip, "kamailio", config_dir),
        ("V_OWN_PATTERN", "|".join(sorted(own))),
        ("V_CONFIG_DIR", config_dir),
        ("V_PROXY_NAME", voip["site"]["proxy_name"]),
        # Where there is no external side, nothing matches the internal address twice.
        ("V_EXT_IP", addresses.get("external", addresses["internal"])),
        ("V_UDP_PORT", ports["sip-udp"]),
        ("V_TCP_PORT", ports["sip-tcp"]),
        ("V_WS_PORT", ports["ws"]),
        ("V_INVITE_TIMEOUT_MS", invite_timeout_s(routing) * 1000),
        *_size_values(voip["kamailio"]),
    ]


def _size_values(settings):
    sizes = settings["sizes"]
    return [
        ("V_INSIDE_WORKERS", settings["inside_workers"]),
        ("V_MAX_CONNECTIONS", settings["capacity"]["connections"]),
        ("V_LOCATION_SLOTS", sizes["location_slots"]),
        ("V_READ_BUFFER", sizes["read_buffer_bytes"]),
        ("V_CONNECTION_QUEUE", sizes["connection_queue_bytes"]),
        ("V_ALL_QUEUES", sizes["queues_bytes"]),
    ]


def relay_table(voip):
    """Return the text of the RTPEngines: one set, in which a dead one is passed over.

    In the form of Kamailio's db_text module, as the rtpengine module wants its table. A drained one
    has no weight: it gets no new call, and what belongs to its calls. (Disabled it would not stay:
    the first ping without an answer makes it one that comes back.)
    """
    lines = ["setid(int) url(string) weight(int) disabled(int)"]
    for relay in voip["relays"]:
        url = media_relay_url(voip, relay["name"]).replace(":", "\\:")
        lines.append(f"0:{url}:{0 if relay['drained'] else 1}:0")
    return "\n".join(lines) + "\n"


def version_table():
    """Return the text of the table in which modules look for the version of theirs."""
    return "table_name(string) table_version(int)\nrtpengine:1\n"


def tls_config(voip, tls_dir=TLS_DIR, crl=None):
    """Return the text of tls.cfg: certificates demanded and verified inside, given outside.

    voip: dict, the minion's pillar['voip']. crl: file of the revocation lists to check by; with
    one that is missing the proxy does not start, with one that has ended it refuses every peer.
    """
    ports = voip["ports"]["kamailio"]
    internal = voip["self"]["addresses"]["internal"]
    own = {
        "method": "TLSv1.2+",
        "certificate": f"{tls_dir}/kamailio.crt",
        "private_key": f"{tls_dir}/kamailio.key",
        "ca_list": f"{tls_dir}/ca.crt",
        "cipher_list": CIPHERS,
    }
    open_to_all = own | {"verify_certificate": "no", "require_certificate": "no"}
    mutual = own | {"verify_certificate": "yes", "require_certificate": "yes", "verify_depth": 3}
    if crl:
        mutual |= {"crl": crl}
    sections = {"server:default": open_to_all, "client:default": mutual}
    for name in ("sip-tls", "wss"):
        sections[f"server:{internal}:{ports[name]}"] = mutual
    text = "# Written by Salt. Outside: our certificate. Inside: both sides', of our CA only.\n"
    for section, values in sections.items():
        text += f"\n[{section}]\n"
        text += "".join(f"{key} = {value}\n" for key, value in values.items())
    return text


def dispatcher_list(voip):
    """Return the text of dispatcher.list: set 1 is the PBXs, over TLS from the internal address."""
    port = voip["ports"]["asterisk"]["sip-tls"]
    own = f"tls:{voip['self']['addresses']['internal']}:{voip['ports']['kamailio']['sip-tls']}"
    lines = ["# Written by Salt: set, destination, flags, priority, attributes."]
    for address in voip["peers"]["pbx"]:
        lines.append(f"1 sip:{address}:{port};transport=tls 0 0 socket={own}")
    return "\n".join(lines) + "\n"


def address_list(voip):
    """Return the text of address.list: group, address, prefix, port (0: any), tag.

    Group 1: PBXs, the tag is the name that the certificate must carry. Group 2: cleartext trunks.
    """
    lines = ["# Written by Salt: group, address, prefix length, port, tag."]
    for host in voip["hosts"].values():
        if "pbx" in host["roles"] and "internal" in host:
            lines.append(f"1 {host['internal']} 32 0 {host['fqdn']}")
    for address in voip["routing"]["cleartext_trunks"]:
        lines.append(f"2 {address} 32 0 trunk")
    return "\n".join(lines) + "\n"


def tables(voip, tls_dir=TLS_DIR, crl=None):
    """Return {file name: text} of what the daemon reads again without a restart.

    crl: as of tls_config.
    """
    return {
        "tls.cfg": tls_config(voip, tls_dir, crl),
        "dispatcher.list": dispatcher_list(voip),
        "address.list": address_list(voip),
        "tables/destination": destination_table(voip["toll"]),
        "tables/feature": feature_table(voip),
        "tables/rtpengine": relay_table(voip),
        "tables/version": version_table(),
    }


def revocation_file(text):
    """Return the file of revocation lists that a tls.cfg names, None when it names none."""
    found = re.search(r"(?m)^crl = (.+)$", text)
    return found.group(1) if found else None


def destination_table(toll):
    """Return the text of the classes of destinations: htable `destination`, PREFIX => class.

    toll: pillar['voip']['toll']. In the form of Kamailio's db_text module, as feature_table's.
    """
    lines = [HTABLE_COLUMNS]
    lines += [f"{prefix}:0:0:{name}:0" for prefix, name in destination_classes(toll)]
    return "\n".join(lines) + "\n"


def feature_table(voip):
    """Return the text of what subscribers have beyond a number: htable `feature`, NUMBER::NAME.

    In the form of Kamailio's db_text module: columns, then a row for each of `record` and `dtls`.
    """
    lines = [HTABLE_COLUMNS]
    known = voip.get("subscribers", {})
    wanted = sorted((number, name) for name in ("dtls", "record") for number in known.get(name, []))
    lines += [f"{number}\\:\\:{name}:0:1:1:0" for number, name in wanted]
    return "\n".join(lines) + "\n"


def check_errors(output, limit=5):
    """Pick the reasons, at most `limit`, out of what `kamailio -c` printed.

    The parser prefixes each line with process, level, module and function: left out.
    """
    reasons = []
    for line in output.splitlines():
        if any(level in line for level in ("CRITICAL:", "ERROR:")) or "parse error" in line:
            reason = line.split(": ", 3)[-1].strip()
            if reason and reason not in reasons:
                reasons.append(reason)
    return reasons[:limit]


def tls_connections(answer):
    """Normalise what `tls.list` answers.

    answer: list of dicts as the RPC gives them. Returns a list of dicts: id, remote and local
    ("address:port"), tls ("TLSv1.3") and cipher (OpenSSL's name), bits, server_name (what the peer
    asked for), state. tls and cipher are None until the handshake is done.
    """
    found = []
    for item in answer:
        cipher, version, bits = _cipher(item.get("cipher"))
        found.append(
            {
                **_ends(item),
                "tls": version,
                "cipher": cipher,
                "bits": bits,
                "server_name": _text(item.get("sni")),
                "state": _text(item.get("state")),
            }
        )
    return found


def _ends(item):
    """Of a connection, as either RPC names it."""
    return {
        "id": item.get("id"),
        "remote": _endpoint(item.get("src_ip"), item.get("src_port")),
        "local": _endpoint(item.get("dst_ip"), item.get("dst_port")),
    }


def websockets(answer, ciphers):
    """Normalise the secure WebSockets of what `core.tcp_list` answers, as `tls_connections` does.

    ciphers: what `htable.dump wss` answers; routes/websocket.cfg writes that table.
    """
    told = {
        entry["name"]: str(entry["value"]).partition(" ")
        for row in ciphers or []
        for entry in row.get("slot", [])
    }
    found = []
    for item in answer:
        if item.get("type") != "WSS":
            continue
        version, _, cipher = told.get(str(item.get("id")), (None, None, None))
        found.append(
            {
                **_ends(item),
                "tls": version,
                "cipher": cipher,
                "bits": None,
                "server_name": None,
                "state": "established" if item.get("state") == "CONN_OK" else item.get("state"),
            }
        )
    return found


def _endpoint(address, port):
    # Kamailio writes an IPv6 address with all its zeros, in brackets or not.
    if ":" in str(address):
        address = ipaddress.ip_address(address.strip("[]"))
    return endpoint(address, port)


def _cipher(description):
    """Split OpenSSL's cipher description: (name, protocol, bits), each None where it is not told.

    The protocol is that of the cipher; with CIPHERS, AEAD only, it is that of the connection too.
    """
    words = (description or "").split()
    if len(words) < 2 or not words[1].startswith("TLSv"):
        return None, None, None
    bits = re.search(r"Enc=\w+\((\d+)\)", description)
    if bits is None and "CHACHA20" in description:
        return words[0], words[1], 256
    return words[0], words[1], int(bits.group(1)) if bits else None


def contacts(answer):
    """Normalise what `ul.lookup` answers: one dict for each contact of the subscriber.

    Each: contact, received, socket, expires_s, user_agent, call_id, connection_id.
    """
    found = []
    for item in answer.get("Contacts", []):
        contact = item.get("Contact", item)
        expires = contact.get("Expires")
        found.append(
            {
                "contact": contact.get("Address"),
                "received": _text(contact.get("Received")),
                "socket": _text(contact.get("Socket")),
                "expires_s": expires if isinstance(expires, int) else None,
                "user_agent": _text(contact.get("User-Agent")),
                "call_id": _text(contact.get("Call-ID")),
                "connection_id": contact.get("Tcpconn-Id"),
            }
        )
    return found


# First letter of a destination's flags (dispatcher module, RPC dispatcher.list).
_DESTINATION_STATES = {"A": "active", "I": "inactive", "D": "disabled", "T": "trying"}


def destinations(answer):
    """Normalise what `dispatcher.list` answers: [{uri, state, latency_ms}]."""
    found = []
    for record in (answer or {}).get("RECORDS", []):
        for target in record.get("SET", {}).get("TARGETS", []):
            dest = target.get("DEST", {})
            latency = dest.get("LATENCY", {})
            found.append(
                {
                    "uri": dest.get("URI"),
                    "state": _DESTINATION_STATES.get(dest.get("FLAGS", "?")[:1], "unknown"),
                    "latency_ms": latency.get("AVG"),
                }
            )
    return found


# Dialog states of the dialog module.
_DIALOG_STATES = {1: "unconfirmed", 2: "early", 3: "confirmed", 4: "confirmed", 5: "ended"}


def dialogs(answer):
    """Normalise what `dlg.list` answers: [{call_id, from, to, state, since, ref}].

    since: seconds since 1970 of the answer, None before it. ref: Call-ID of the leg by which the
    call came.
    """
    found = []
    for item in answer:
        variables = {
            key: value for entry in item.get("variables", []) for key, value in entry.items()
        }
        found.append(
            {
                "call_id": item.get("call-id"),
                "from": item.get("from_uri"),
                "to": item.get("to_uri"),
                "state": _DIALOG_STATES.get(item.get("state"), str(item.get("state"))),
                "since": item.get("start_ts") or None,
                "ref": variables.get("ref"),
            }
        )
    return found


def statistics(answer):
    """Parse lines like "script:scanners_dropped = 3" to {"scanners_dropped": 3}."""
    found = {}
    for line in answer:
        name, _, value = line.partition("=")
        found[name.strip().partition(":")[2]] = int(value)
    return found


def table_entries(answer):
    """Normalise what `htable.dump` answers: [(key, value)]."""
    return [(slot["name"], slot["value"]) for item in answer for slot in item.get("slot", [])]


def media_relays(answer):
    """Normalise what `rtpengine.show` answers: [{url, state}].

    state: "active", "inactive" (did not answer the last time it was asked) or "drained" (gets no
    new call; what belongs to its calls still goes there).
    """
    return [{"url": row["url"], "state": _relay_state(row)} for row in answer]


def _relay_state(row):
    if not row.get("weight", 1):
        return "drained"
    return "inactive" if row.get("disabled") or not row.get("active", True) else "active"


def _text(value):
    """A value, or None for the RPC's ways to say that there is none."""
    return None if value in (None, "", "[not set]", "n/a", "N/A", "unknown") else str(value)
