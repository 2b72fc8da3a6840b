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
WAY = "iifname . ip saddr . ip daddr"
KEY = f"{WAY} . meta l4proto . th dport"
# `arrived` counts before any filter, so that a packet lost on the way is no closed port.
RULES = f"""\
table inet {TABLE}
delete table inet {TABLE}
table inet {TABLE} {{
  set arrived {{ type ifname . ipv4_addr . ipv4_addr; flags dynamic; counter; size 1024; }}
  set passed {{
    type ifname . ipv4_addr . ipv4_addr . inet_proto . inet_service; flags dynamic; size 262144;
  }}
  chain before {{
    type filter hook prerouting priority raw; policy accept;
    tcp sport {SOURCE_PORT} tcp flags & (syn | ack) == syn update @arrived {{ {WAY} }}
    udp sport {SOURCE_PORT} update @arrived {{ {WAY} }}
  }}
  chain after {{
    type filter hook input priority 10; policy accept;
    tcp sport {SOURCE_PORT} tcp flags & (syn | ack) == syn update @passed {{ {KEY} }}
    udp sport {SOURCE_PORT} update @passed {{ {KEY} }}
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
    for item in sets["arrived"]:
        element = item["elem"]
        seen.arrived[tuple(element["val"]["concat"])] = element["counter"]["packets"]
    for item in sets["passed"]:
        value = item["elem"]["val"] if isinstance(item, dict) and "elem" in item else item
        *way, proto, port = value["concat"]
        seen.passed.setdefault(tuple(way), set()).add((proto, int(port)))
    return seen
