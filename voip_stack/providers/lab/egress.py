"""What may leave a lab, as nftables rules: package downloads and names, nothing else.

Two tables for each lab, both counting what they drop. The one in the namespace decides; the one
on the host holds even if a guest were to change the namespace's, and does the address translation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network

WEB_PORTS = (80, 443)


@dataclass(frozen=True)
class Exits:
    """proxies: (address, port) of the host's own package proxy, where it has one."""

    resolvers: Sequence[str]
    proxies: Sequence[tuple[str, int]] = ()


def table_name(lab: str) -> str:
    return lab.replace("-", "_")


def _allowed(prefix: str, exits: Exits) -> list[str]:
    rules = []
    if exits.resolvers:
        names = ", ".join(exits.resolvers)
        rules += [f"{prefix} ip daddr {{ {names} }} {proto} dport 53 accept"
                  for proto in ("udp", "tcp")]  # fmt: skip
    rules += [f"{prefix} ip daddr {host} tcp dport {port} accept" for host, port in exits.proxies]
    return rules


def namespace_rules(
    gateway: str,
    master: tuple[str, Sequence[int]],
    lab_networks: Sequence[IPv4Network],
    exits: Exits,
) -> str:
    """The namespace's ruleset. master: the host's end of the link and the master's ports.

    Bridged frames between guests do not pass here. Programs that run in the namespace itself
    (tests, load tools) reach the bridges only.
    """
    address, ports = master
    wanted = ", ".join(map(str, ports))
    own = ", ".join(map(str, lab_networks))
    web = ", ".join(map(str, WEB_PORTS))
    out = 'iifname "br-int" oifname "uplink"'
    allowed = "\n    ".join(_allowed(out, exits))
    return f"""\
table inet voip
delete table inet voip
table inet voip {{
  counter dropped {{ }}
  chain prerouting {{
    type nat hook prerouting priority dstnat;
    iifname "br-int" ip daddr {gateway} tcp dport {{ {wanted} }} dnat ip to {address}
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat;
    oifname "uplink" masquerade
  }}
  chain forward {{
    type filter hook forward priority filter; policy drop;
    iifname "br-int" oifname "br-int" accept comment "br_netfilter loaded after the lab"
    iifname "br-ext" oifname "br-ext" accept comment "br_netfilter loaded after the lab"
    ct state established,related accept
    {out} ip daddr {address} tcp dport {{ {wanted} }} ct status dnat accept
    {allowed}
    {out} ip daddr {{ {own}, {address}, 169.254.0.0/16, 127.0.0.0/8 }} counter name dropped drop
    {out} tcp dport {{ {web} }} accept
    counter name dropped drop
  }}
  chain input {{
    type filter hook input priority filter; policy drop;
    iifname "lo" accept
    ct state established,related accept
    iifname {{ "br-int", "br-ext" }} icmp type echo-request accept
    counter name dropped drop
  }}
  chain output {{
    type filter hook output priority filter; policy accept;
    oifname "uplink" ct state established,related accept
    oifname "uplink" counter name dropped drop
  }}
}}
"""


def host_rules(lab: str, veth: str, link: IPv4Network, ports: Sequence[int], exits: Exits) -> str:
    """The host's table of one lab: only what came by its veth is looked at."""
    table = table_name(lab)
    wanted = ", ".join(map(str, ports))
    web = ", ".join(map(str, WEB_PORTS))
    allowed = "\n    ".join(_allowed(f'iifname "{veth}"', exits))
    return f"""\
table inet {table}
delete table inet {table}
table inet {table} {{
  counter dropped {{ }}
  chain postrouting {{
    type nat hook postrouting priority srcnat;
    ip saddr {link} oifname != "{veth}" masquerade
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    iifname != "{veth}" oifname != "{veth}" accept
    ct state established,related accept
    {allowed}
    iifname "{veth}" tcp dport {{ {web} }} accept
    counter name dropped drop
  }}
  chain input {{
    type filter hook input priority filter; policy accept;
    iifname != "{veth}" accept
    ct state established,related accept
    ip daddr {link[1]} tcp dport {{ {wanted} }} accept
    counter name dropped drop
  }}
}}
"""
