"""What a host's firewall lets in, measured behind it: a table of ours after `inet voip`.

The kernel itself notes each first packet of a flow that passed the filter, with the interface it
came by and its source. That covers UDP and ports without a listener, which no scan from outside
can tell apart, over the full range.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

TABLE = "voip_watch"
# Only the sender's packets are noted (port_sender.py): answers to the host's own calls are none.
SOURCE_PORT = 61111
WAYS = {"ip": "iifname . ip saddr . ip daddr", "ip6": "iifname . ip6 saddr . ip6 daddr"}
KEYS = {family: f"{way} . meta l4proto . th dport" for family, way in WAYS.items()}


def noted(name: str, keys: dict[str, str]) -> str:
    """The rules that note the sender's packets in the sets `name`-ip and `name`-ip6."""
    packets = (
        f"tcp sport {SOURCE_PORT} tcp flags & (syn | ack) == syn",
        f"udp sport {SOURCE_PORT}",
    )
    return "\n    ".join(
        f"{packet} update @{name}-{family} {{ {key} }}"
        for family, key in keys.items()
        for packet in packets
    )


# `arrived` counts before any filter, so that a packet lost on the way is no closed port.
RULES = f"""\
table inet {TABLE}
delete table inet {TABLE}
table inet {TABLE} {{
  set arrived-ip {{ type ifname . ipv4_addr . ipv4_addr; flags dynamic; counter; size 1024; }}
  set arrived-ip6 {{ type ifname . ipv6_addr . ipv6_addr; flags dynamic; counter; size 1024; }}
  set passed-ip {{
    type ifname . ipv4_addr . ipv4_addr . inet_proto . inet_service; flags dynamic; size 262144;
  }}
  set passed-ip6 {{
    type ifname . ipv6_addr . ipv6_addr . inet_proto . inet_service; flags dynamic; size 262144;
  }}
  chain before {{
    type filter hook prerouting priority raw; policy accept;
    {noted("arrived", WAYS)}
  }}
  chain after {{
    type filter hook input priority 10; policy accept;
    {noted("passed", KEYS)}
  }}
}}
"""
LIST = ["nft", "--json", "list", "table", "inet", TABLE]
REMOVE = ["nft", "delete", "table", "inet", TABLE]


@dataclass
class Seen:
    """arrived: {(interface, source, target): packets}; passed: the same -> {(proto, port)}."""

    arrived: dict[tuple, int] = field(default_factory=dict)
    passed: dict[tuple, set] = field(default_factory=dict)


def parse(text: str) -> Seen:
    """`nft --json list table` of our table."""
    seen = Seen()
    sets = {
        item["set"]["name"]: item["set"].get("elem", [])
        for item in json.loads(text)["nftables"]
        if "set" in item
    }
    for item in [*sets["arrived-ip"], *sets["arrived-ip6"]]:
        element = item["elem"]
        seen.arrived[tuple(element["val"]["concat"])] = element["counter"]["packets"]
    for item in [*sets["passed-ip"], *sets["passed-ip6"]]:
        value = item["elem"]["val"] if isinstance(item, dict) and "elem" in item else item
        *way, proto, port = value["concat"]
        seen.passed.setdefault(tuple(way), set()).add((proto, int(port)))
    return seen
