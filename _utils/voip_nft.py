"""The text of a host's nftables rules, from listeners that pillar declares.

Pure functions: no I/O, no Salt names. Reference: nft(8), Debian 12 (1.0.6) and 13 (1.1.3).
"""

import ipaddress
import re

from salt.exceptions import SaltInvocationError

FAMILY = "inet"
TABLE = "voip"

# ICMP errors that belong to a flow are `related`; what is left is what starts a flow of its own.
ICMP_RATE = "20/second burst 40 packets"
LOG_RATE = "10/minute burst 20 packets"


def port_range(value):
    """Return (low, high) of a port declaration.

    value: 5071, "5071", "30000-39999" or [30000, 39999]. Both ends inclusive, 1-65535.
    Raises SaltInvocationError for anything else.
    """
    try:
        if isinstance(value, str):
            value = [int(part) for part in value.split("-")]
        if isinstance(value, int):
            value = [value]
        low, high = int(value[0]), int(value[-1])
        well_formed = len(value) in (1, 2) and 0 < low <= high < 65536
    except (TypeError, ValueError, IndexError, KeyError):
        well_formed = False
    if not well_formed:
        raise SaltInvocationError(f"not a port or a port range: {value!r}")
    return low, high


def by_family(addresses):
    """Split addresses and networks into {"ip": [...], "ip6": [...]}, sorted, without duplicates.

    Raises SaltInvocationError for text that is no address.
    """
    found = {"ip": set(), "ip6": set()}
    for address in addresses:
        try:
            network = ipaddress.ip_network(str(address))
        except ValueError as err:
            raise SaltInvocationError(f"not an IP address or network: {address!r}") from err
        found["ip" if network.version == 4 else "ip6"].add(network)
    return {
        family: [str(n).removesuffix(f"/{n.max_prefixlen}") for n in sorted(networks)]
        for family, networks in found.items()
    }


def _set(values):
    return values[0] if len(values) == 1 else "{ " + ", ".join(values) + " }"


def _ports(value):
    low, high = port_range(value)
    return str(low) if low == high else f"{low}-{high}"


def _comment(text):
    return f'comment "{text}"'


def _quoted_safe(text):
    if any(c in '"\\\n' for c in text) or not text:
        raise SaltInvocationError(f"not usable in a rule: {text!r}")
    return text


def listener_rules(rule, own_addresses):
    """Return the accept rules of one declared listener, one per address family.

    rule: {name, interface, proto, ports, sources}; no sources means every address of that side.
    own_addresses: the host's addresses on that interface; only packets to these are accepted, so
        that an address of one network is not reachable through the interface of another.
    """
    proto = rule["proto"]
    if proto not in ("tcp", "udp", "vrrp"):
        raise SaltInvocationError(f"{rule['name']}: not a protocol: {proto!r}")
    own = by_family(own_addresses)
    sources = by_family(rule.get("sources") or [])
    restricted = any(sources.values())
    lines = []
    for family in ("ip", "ip6"):
        if not own[family] or (restricted and not sources[family]):
            continue
        source = f"{family} saddr {_set(sources[family])} " if restricted else ""
        lines.append(
            f'iifname "{_quoted_safe(rule["interface"])}" {source}'
            f"{family} daddr {_set(own[family])} "
            f"{_to_port(rule)} accept {_comment(_quoted_safe(rule['name']))}"
        )
    if not lines:
        raise SaltInvocationError(
            f"{rule['name']}: no address of the host on {rule['interface']} fits its sources"
        )
    return lines


def _to_port(rule):
    """VRRP (RFC 5798) is a protocol beside UDP and TCP, without ports."""
    if rule["proto"] == "vrrp":
        return "meta l4proto 112"
    return f"{rule['proto']} dport {_ports(rule['ports'])}"


def spoof_rules(networks):
    """Return the rules that drop, on each interface, sources that belong to another one.

    networks: {interface: cidr, or a list of them}. A peer that is trusted by its address (the PBX,
    a proxy) must not be played from outside.
    """
    return [
        f'iifname "{_quoted_safe(interface)}" {family} saddr {cidr} '
        f"counter drop {_comment('spoofed source')}"
        for interface in sorted(networks)
        for other in sorted(networks)
        if other != interface
        for family, cidrs in by_family(_listed(networks[other])).items()
        for cidr in cidrs
    ]


def _listed(value):
    return [value] if isinstance(value, str) else value


def master_rules(masters, ports):
    """Return the rules that keep connections to the Salt master alive when rules are first loaded.

    Before the first load nothing tracks connections, so the master's next packet on an old
    connection looks new. Segments with ACK and without SYN cannot open a connection.
    """
    return [
        f"{family} saddr {_set(addresses)} tcp sport {_set([str(p) for p in sorted(ports)])} "
        f"tcp flags & (syn | ack) == ack accept {_comment('salt: opened before the rules')}"
        for family, addresses in by_family(masters).items()
        if addresses and ports
    ]


def egress_rules(egress):
    """Return the accept rules of what the host may open connections to.

    egress: [{name, proto, ports, destinations}]; no destinations means any address.
    """
    lines = []
    for rule in egress:
        destinations = by_family(rule.get("destinations") or [])
        match = f"{rule['proto']} dport {_ports(rule['ports'])}"
        comment = _comment(_quoted_safe(rule["name"]))
        if not any(destinations.values()):
            lines.append(f"{match} accept {comment}")
            continue
        lines += [
            f"{family} daddr {_set(addresses)} {match} accept {comment}"
            for family, addresses in destinations.items()
            if addresses
        ]
    return lines


# Whose connections are counted: an address, or an IPv6 network of 64 bits, all of whose addresses
# are its own.
_SOURCES = {
    "ip": ("sources", "ipv4_addr", "ip saddr"),
    "ip6": ("sources6", "ipv6_addr", "ip6 saddr and ffff:ffff:ffff:ffff::"),
}
_MOST_SOURCES = 65536


def connection_rules(connections):
    """Return (sets, chains, rule of the input chain) that limit a source's connections.

    connections: {interface, ports, most, sources: {address or network: another limit}}. Those over
    the limit are reset, counted, and told with a limit. A source that there is no room for in the
    set is let in.
    """
    lines = []
    # Of two that overlap, the smaller one counts.
    declared = sorted(connections["sources"].items(), key=lambda item: (-_length(item[0]), item))
    for source, most in declared:
        ((family, (network,)),) = (item for item in by_family([source]).items() if item[1])
        lines.append(f"{family} saddr {network} {_over(family, most)}")
        lines.append(f"{family} saddr {network} return")
    lines += [_over(family, connections["most"]) for family in _SOURCES]
    refused = [
        _log("connections"),
        f"counter reject with tcp reset {_comment('connections of a source')}",
    ]
    sets = [
        f"\tset {name} {{\n\t\ttype {kind}\n\t\tsize {_MOST_SOURCES}\n\t\tflags dynamic\n\t}}\n"
        for name, kind, _ in _SOURCES.values()
    ]
    ports = _set([_ports(port) for port in connections["ports"]])
    entry = (
        f'iifname "{_quoted_safe(connections["interface"])}" tcp dport {ports} ct state new'
        " jump connections"
    )
    return sets, [_body("too_many", refused), _body("connections", lines)], entry


def _length(network):
    return ipaddress.ip_network(network).prefixlen


def _over(family, most):
    name, _, key = _SOURCES[family]
    return f"add @{name} {{ {key} ct count over {int(most)} }} goto too_many"


def _body(name, lines):
    return f"\tchain {name} {{\n" + "".join(f"\t\t{line}\n" for line in lines) + "\t}\n"


def _chain(name, hook, policy, lines):
    return _body(name, [f"type filter hook {hook} priority filter; policy {policy};", *lines])


def _log(direction):
    return f'limit rate {LOG_RATE} log prefix "voip-firewall {direction}: " level info'


def ruleset(
    rules,
    addresses,
    networks,
    masters=(),
    master_ports=(),
    egress=None,
    shared=None,
    connections=None,
):
    """Return the file that replaces table `inet voip`, and only that table, in one transaction.

    rules: see `listener_rules`. addresses: {interface: [own addresses]}. networks: see
    `spoof_rules`. masters, master_ports: see `master_rules`. egress: see `egress_rules`; None
    leaves outgoing traffic open, a list (even an empty one) closes it but for what it names.
    shared: {"interface", "ways"} of `entrance_rules`, None on a host without a shared address.
    connections: see `connection_rules`; None for no limit.
    """
    icmp = [
        "meta nfproto ipv4 icmp type echo-request limit rate " + ICMP_RATE + " accept",
        "meta nfproto ipv6 icmpv6 type echo-request limit rate " + ICMP_RATE + " accept",
        # RFC 4861, section 6.1: neighbour discovery comes from the link, its hop limit untouched.
        "ip6 hoplimit 255 icmpv6 type { nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert }"
        " accept",
        "ip6 saddr fe80::/10 icmpv6 type { mld-listener-query, mld2-listener-report } accept",
    ]
    unknown = sorted({r["interface"] for r in rules} - set(addresses))
    if unknown:
        raise SaltInvocationError(f"rules name interfaces the host has not: {', '.join(unknown)}")
    incoming = [
        'iifname "lo" accept',
        *spoof_rules(networks),
        "ct state established,related accept",
        *master_rules(masters, master_ports),
        "ct state invalid counter drop",
        *icmp,
    ]
    sets, chains = [], []
    if connections is not None:
        sets, chains, entry = connection_rules(connections)
        incoming.append(entry)
    for rule in rules:
        incoming += listener_rules(rule, addresses[rule["interface"]])
    if shared:
        incoming += entrance_rules(shared["interface"], shared["ways"])
    incoming += [_log("input"), f"counter {_comment('dropped')}"]

    chains += [
        _chain("input", "input", "drop", incoming),
        _chain("forward", "forward", "drop", [_log("forward"), f"counter {_comment('dropped')}"]),
    ]
    if egress is not None:
        outgoing = [
            'oifname "lo" accept',
            "ct state established,related accept",
            "meta l4proto { icmp, ipv6-icmp } accept",
            *egress_rules(egress),
            _log("output"),
            f"counter reject with icmpx admin-prohibited {_comment('refused')}",
        ]
        chains.append(_chain("output", "output", "drop", outgoing))
    return (
        "# Written by Salt (voip_firewall.managed) from pillar/services.yaml: edits are undone.\n"
        f"table {FAMILY} {TABLE}\n"
        f"delete table {FAMILY} {TABLE}\n"
        f"table {FAMILY} {TABLE} {{\n" + "\n".join([*sets, *chains]) + "}\n"
    )


SHARED_TABLE = "voip_shared"


def entrance(interface, proxy, ways):
    """Return the file that replaces table `inet voip_shared`: who comes to the shared address.

    proxy: whose ports they get. ways: [{proto, address, port, to_port}]. A connection that is open
    is the kernel's (conntrack): it stays where it is, whatever the table says later.
    """
    rules = "".join(
        f'\t\tiifname "{_quoted_safe(interface)}" {family} daddr {way["address"]} '
        f"{way['proto']} dport {_ports(way['port'])} dnat {family} to {_end(way)}\n"
        for way in ways
        for family, found in by_family([way["address"]]).items()
        if found
    )
    return (
        "# Written by Salt (voip_shared.entrance) from the pillar: edits are undone.\n"
        f"table {FAMILY} {SHARED_TABLE}\n"
        f"delete table {FAMILY} {SHARED_TABLE}\n"
        f"table {FAMILY} {SHARED_TABLE} {{\n"
        f"\tcomment {_quoted(proxy)}\n"
        "\tchain prerouting {\n\t\ttype nat hook prerouting priority dstnat; policy accept;\n"
        f"{rules}\t}}\n}}\n"
    )


def entrance_of(listing):
    """The proxy that a listing of the table names, None for an empty one."""
    found = re.search(r'^\s*comment "([^"]+)"', listing, re.MULTILINE)
    return found.group(1) if found else None


def _quoted(text):
    return f'"{_quoted_safe(text)}"'


def _end(way):
    # Not `redirect`: that one is to the first address of the interface.
    address = f"[{way['address']}]" if ":" in way["address"] else way["address"]
    return f"{address}:{_ports(way['to_port'])}"


def entrance_rules(interface, ways):
    """Return the accept rules of the shared address: for who came to one of its own ports, by
    whichever proxy's it was replaced. ways: of all proxies, as `entrance` takes them.
    """
    lines = []
    for family in ("ip", "ip6"):
        own = [way for way in ways if by_family([way["address"]])[family]]
        addresses = by_family(way["address"] for way in own)[family]
        for proto, port in sorted({(way["proto"], way["port"]) for way in own}):
            ends = {w["to_port"] for w in own if (w["proto"], w["port"]) == (proto, port)}
            lines.append(
                f'iifname "{_quoted_safe(interface)}" {family} daddr {_set(addresses)} {proto} '
                f"dport {_set([str(end) for end in sorted(ends)])} ct original proto-dst {port} "
                f"accept {_comment('shared address')}"
            )
    return lines


HOLD_TABLE = "voip_hold"


def hold(ports, timeout_s):
    """Return the script that has new TCP connections to `ports` wait: table `inet voip_hold`.

    Their SYN is dropped, and sent again by the peer after 1 s (RFC 6298, section 2), then 2 s, ...
    timeout_s: after it the kernel lets them pass by itself, should nobody delete the table. Before
    every other rule, the loopback's among them; connections that are open are not touched.
    """
    elements = ", ".join(str(port_range(port)[0]) for port in sorted(set(ports)))
    return (
        f"table {FAMILY} {HOLD_TABLE}\n"
        f"delete table {FAMILY} {HOLD_TABLE}\n"
        f"table {FAMILY} {HOLD_TABLE} {{\n"
        "\tset ports {\n\t\ttype inet_service\n\t\tflags timeout\n"
        f"\t\ttimeout {int(timeout_s)}s\n\t\telements = {{ {elements} }}\n\t}}\n"
        "\tchain input {\n\t\ttype filter hook input priority filter - 10; policy accept;\n"
        "\t\ttcp flags & (fin | syn | rst | ack) == syn tcp dport @ports drop\n\t}\n}\n"
    )


def line_changes(old, new):
    """Return {"added": [...], "removed": [...]} of two rule listings, without empty keys."""
    before = [line.strip() for line in old.splitlines() if line.strip()]
    after = [line.strip() for line in new.splitlines() if line.strip()]
    changes = {
        "added": [line for line in after if line not in before],
        "removed": [line for line in before if line not in after],
    }
    if old != new and not any(changes.values()):
        changes["added"] = ["(same rules, another order)"]
    return {key: lines for key, lines in changes.items() if lines}


def changes(live, wanted, saved, text):
    """Return what a state of a table reports: {"live": ..., "file": ...}, each by line_changes and
    there only when it differs. live, wanted: listings of the table; saved, text: its file."""
    found = {}
    if live != wanted:
        found["live"] = line_changes(live, wanted)
    if saved != text:
        found["file"] = line_changes(saved, text)
    return found


def counters(listing):
    """Return {chain: packets its counters dropped or refused} of what `nft list table` prints."""
    found = {}
    chain = None
    for line in listing.splitlines():
        if match := re.match(r"\s*chain (\S+) \{", line):
            chain = match[1]
        elif chain and (match := re.search(r"counter packets (\d+) ", line)):
            found[chain] = found.get(chain, 0) + int(match[1])
    return found
