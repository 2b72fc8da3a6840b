"""OpenSIPS' files that depend on the pillar, as text, and the parsing of what OpenSIPS reports.

Routing is in salt/opensips/files, with a V_WORD wherever a value belongs; every value is here, and
what both proxies share is in voip_proxy.
"""

import ipaddress
import json
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

CONFIG_DIR = "/etc/opensips/voip"
# In memory only: the private key is in it, as the daemon wants it.
TLS_TABLES_DIR = "/run/opensips/tls"
# Of every file in CONFIG_DIR: what voip_config takes.
OWNER = {"user": "root", "group": "opensips"}
# How long a challenge may be answered.
NONCE_S = 300
# Of the dispatcher table and of the address table.
PBX_SET, TRUNK_GROUP = 1, 1
# In the database and in the tables alike.
VERSION_TABLE = "opensips_version"


def values(voip, modules_dir, config_dir=CONFIG_DIR):
    """Return {V_WORD: value} of the routing files.

    voip: dict, the minion's pillar['voip']. modules_dir: where its package has its modules. Raises
    KeyError where the pillar lacks a value: the schema does not let that happen.
    """
    found = {
        **dict(shared_values(voip, "opensips", config_dir)),
        "V_MODULES_DIR": modules_dir,
        "V_TLS_TABLES_DIR": TLS_TABLES_DIR,
        "V_MAX_CONNECTIONS": voip["opensips"]["max_connections"],
        "V_OWN_PATTERN": "|".join(
            _pattern(item) for item in [*_own_addresses(voip["self"]), *shared_addresses(voip)]
        ),
        "V_HAS_IPV6": "yes" if voip["self"].get("ipv6") else "no",
        "V_NONCE_S": NONCE_S,
        "V_IDLE_S": voip["toll"]["idle_s"],
        "V_INVITE_TIMEOUT_S": invite_timeout_s(voip["routing"]),
        "V_PBX_SET": PBX_SET,
        "V_TRUNK_GROUP": TRUNK_GROUP,
    }
    return {name: str(value) for name, value in found.items()}


def _own_addresses(own):
    return [*own["addresses"].values(), *own.get("ipv6", {}).values()]


def _pattern(address):
    """As Via has an address, in a POSIX regular expression inside a string of the routing."""
    return f".{address}." if ":" in address else address.replace(".", "[.]")


def substituted(text, found):
    """Return text with each V_WORD replaced. Raises KeyError for one that has no value."""
    return re.sub(r"\bV_[A-Z0-9_]+\b", lambda match: found[match[0]], text)


def sockets(voip):
    """Return the text of sockets.cfg: each listener at each address, and the names of ours.

    At the shared address it says the port by which devices come there.
    """
    ports = voip["ports"]["opensips"]
    kinds = {"tls": "sip-tls", "wss": "wss", "udp": "sip-udp", "tcp": "sip-tcp", "ws": "ws"}
    lines = ["# Written by Salt from the pillar: listeners, and the names that are ours."]
    for address in _own_addresses(voip["self"]):
        lines += [
            f"socket={proto}:{endpoint(address, ports[name])}" for proto, name in kinds.items()
        ]
    lines += [
        f"socket={proto}:{endpoint(way['address'], way['to_port'])}"
        f" as {endpoint(way['address'], way['port'])}"
        for way in shared_ways(voip, "opensips")
        for proto, name in kinds.items()
        if name == way["name"]
    ]
    site = voip["site"]
    for name in (site["domain"], site["proxy_name"]):
        lines += [f"alias=tls:{name}:{ports['sip-tls']}", f"alias=wss:{name}:{ports['wss']}"]
    return "\n".join(lines) + "\n"


# Of each table: columns as OpenSIPS' db_text module wants them, and the version that it expects.
TABLES = {
    "dispatcher": (
        "id(int,auto) setid(int) destination(string) socket(string,null) state(int) "
        "probe_mode(int) weight(string) priority(int) attrs(string,null) description(string,null)",
        9,
    ),
    "address": (
        "id(int,auto) grp(int) ip(string) mask(int) port(int) proto(string) pattern(string,null) "
        "context_info(string,null)",
        5,
    ),
    "grp": (
        "id(int,auto) username(string) domain(string) grp(string) last_modified(int)",
        3,
    ),
    "rtpengine": ("id(int,auto) socket(string) set_id(int)", 1),
    "destination": ("id(int,auto) prefix(string) class(string)", 1),
}
TLS_TABLE_VERSION = 3


def table(name, rows):
    """Return the text of table `name`; rows: lists of values without the id, None for null."""
    lines = [TABLES[name][0]]
    lines += [":".join(map(escaped, [number, *row])) for number, row in enumerate(rows, 1)]
    return "\n".join(lines) + "\n"


def escaped(value):
    """Return a value as a field of db_text."""
    text = "" if value is None else str(value)
    return text.replace("\\", "\\\\").replace(":", "\\:").replace("\n", "\\n")


def tables(voip, crl=None):
    """Return {file name: text} of what the daemon reads again without a restart.

    crl: file of the revocation lists to check by, None to check by none.
    """
    found = {
        "dispatcher": _destinations(voip),
        "address": _addresses(voip),
        "grp": _features(voip),
        # A drained one has no weight: it gets no new call, and what belongs to its calls.
        "rtpengine": [
            [f"{media_relay_url(voip, relay['name'])}={0 if relay['drained'] else 1}", 0]
            for relay in voip["relays"]
        ],
        "destination": [list(row) for row in destination_classes(voip["toll"])],
    }
    versions = [f"{name}:{version}" for name, (_, version) in TABLES.items()]
    texts = {f"tables/{name}": table(name, rows) for name, rows in found.items()}
    texts[f"tables/{VERSION_TABLE}"] = "\n".join(
        ["table_name(string) table_version(int)", *versions, ""]
    )
    return texts | {"tls.json": tls_settings(voip, crl)}


def _destinations(voip):
    """PBXs, over TLS from the internal address; attrs: the name that the certificate must carry."""
    port = voip["ports"]["asterisk"]["sip-tls"]
    own = f"tls:{voip['self']['addresses']['internal']}:{voip['ports']['opensips']['sip-tls']}"
    return [
        [
            PBX_SET,
            f"sip:{host['internal']}:{port};transport=tls",
            own,
            0,
            1,
            "1",
            0,
            host["fqdn"],
            None,
        ]
        for host in voip["hosts"].values()
        if "pbx" in host["roles"] and "internal" in host
    ]


def _addresses(voip):
    trunks = voip["routing"]["cleartext_trunks"]
    return [[TRUNK_GROUP, address, 32, 0, "any", None, "trunk"] for address in trunks]


def _features(voip):
    known, domain = voip.get("subscribers", {}), voip["site"]["domain"]
    wanted = sorted((number, name) for name in ("dtls", "record") for number in known.get(name, []))
    return [[number, domain, name, 0] for number, name in wanted]


def tls_settings(voip, crl=None, tls_dir=TLS_DIR):
    """Return the text of tls.json: certificates demanded and verified inside, given outside.

    What salt/opensips/files/tls_tables.py makes the daemon's table of. Nothing secret.
    """
    ports, internal = voip["ports"]["opensips"], voip["self"]["addresses"]["internal"]
    inside = ",".join(f"{internal}:{ports[name]}" for name in ("sip-tls", "wss"))
    domains = [
        _domain("inside", SERVER, inside, is_mutual=True),
        _domain("outside", SERVER, "*", is_mutual=False),
        _domain("peers", CLIENT, "*", is_mutual=True),
    ]
    return (
        json.dumps(
            {
                "directory": TLS_TABLES_DIR,
                "group": OWNER["group"],
                "certificate": f"{tls_dir}/opensips.crt",
                "private_key": f"{tls_dir}/opensips.key",
                "ca_list": f"{tls_dir}/ca.crt",
                "crl": crl,
                "version": [VERSION_TABLE, TLS_TABLE_VERSION],
                "domains": domains,
            },
            indent=1,
        )
        + "\n"
    )


CLIENT, SERVER = 1, 2


def _domain(name, kind, addresses, is_mutual):
    return {
        "domain": name,
        "type": kind,
        "match_ip_address": addresses,
        "match_sip_domain": "*",
        "method": "TLSv1_2-TLSv1_3",
        "verify_cert": int(is_mutual),
        "require_cert": int(is_mutual),
        "crl_check_all": 0,
        "cipher_list": CIPHERS,
    }


def revocation_file(text):
    """Return the file of revocation lists that a tls.json names, None when it names none."""
    return json.loads(text)["crl"] if text else None


def check_errors(output, limit=5):
    """Pick the reasons, at most `limit`, out of what `opensips -C` printed.

    The parser prefixes each line with time, process, level, module and function: left out, as the
    lines of the file that it shows around the place.
    """
    found = re.findall(r"(?:CRITICAL|ERROR):(?!Traceback)[a-z_0-9]+:\w+: (.+)", output)
    return list(dict.fromkeys(line.strip() for line in found))[:limit]


def seconds(text):
    """Return the number of "25 [sec]"."""
    return int(text.split()[0])


def tls_connections(answer, noted):
    """Normalise what `list_tcp_conns` answers: as voip_kamailio.tls_connections.

    noted: [{"name": "ADDRESS:PORT" of the other end, "value": "TLSv1.3 CIPHER"}], by the routing.
    """
    ciphers = {_normal(item["name"]): item["value"].split() for item in noted}
    found = []
    for item in answer:
        if item["Type"] not in ("tls", "wss"):
            continue
        version, cipher = ciphers.get(_normal(item["Remote"]), (None, None))
        found.append(
            {
                "id": item["ID"],
                "remote": _normal(item["Remote"]),
                "local": _normal(item["Local"]),
                "tls": version,
                "cipher": cipher,
                "state": "established",
            }
        )
    return found


def _normal(text):
    """An address and port as OpenSIPS writes it, IPv6 with all its zeros, as people do."""
    address, _, port = text.rpartition(":")
    return endpoint(ipaddress.ip_address(address.strip("[]")), port)


def table_entries(answer):
    """Normalise what `cache_fetch_chunk` answers: [(key, value)]."""
    return [(item["name"], item["value"]) for item in answer["keys"]]


def contacts(answer):
    """Normalise what `ul_show_contact` answers: one dict for each contact of the subscriber."""
    return [
        {
            "contact": item["Contact"],
            "received": item.get("Received"),
            "socket": item.get("Socket"),
            "expires_s": item["Expires"] if isinstance(item["Expires"], int) else None,
            "user_agent": item.get("User-agent"),
            "call_id": item.get("Callid"),
        }
        for item in answer["Contacts"]
    ]


def destinations(answer):
    """Normalise what `ds_list` answers: [{uri, state}]."""
    return [
        {"uri": item["URI"], "state": item["state"].lower()}
        for partition in answer["PARTITIONS"]
        for group in partition.get("SETS", [])
        for item in group["Destinations"]
    ]


def media_relays(answer):
    """Normalise what `rtpengine_show` answers: [{url, state}], as voip_kamailio.media_relays."""
    nodes = [node for group in answer for node in group["Nodes"]]
    return [{"url": node["url"], "state": _relay_state(node)} for node in nodes]


def _relay_state(node):
    if node["disabled"]:
        return "inactive"
    return "active" if node["weight"] else "drained"


# Of the dialog module: unconfirmed, early, confirmed without and with its ACK, ended.
_DIALOG_STATES = {1: "unconfirmed", 2: "early", 3: "confirmed", 4: "confirmed", 5: "ended"}


def dialogs(answer):
    """Normalise what `dlg_list_ctx` answers: as voip_kamailio.dialogs."""
    return [
        {
            "call_id": item["callid"],
            "from": item["from_uri"],
            "to": item["to_uri"],
            "state": _DIALOG_STATES.get(item["state"], str(item["state"])),
            "since": int(item["timestart"]) or None,
            "ref": _values_of(item).get("ref"),
        }
        for item in answer
    ]


def _values_of(dialog):
    listed = dialog.get("context", {}).get("values", [])
    return {name: value for entry in listed for name, value in entry.items()}
