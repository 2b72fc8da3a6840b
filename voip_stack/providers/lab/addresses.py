"""Addresses that the lab may use: its link to the host, and no overlap with what the host needs."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from urllib.parse import urlsplit

from voip_stack.problem import Problem

# Third octets left out: cloud metadata services are at 169.254.169.254 and .170.2.
_TAKEN_OCTETS = (0, 169, 170, 255)
_RESOLVER_FILES = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))


@dataclass(frozen=True)
class Needed:
    """An address or network that the host needs, and what for."""

    network: IPv4Network
    why: str


def choose_link(seed: str, used: Iterable[IPv4Network]) -> IPv4Network:
    """A /30 of 169.254.0.0/16, from the hash `seed`, that overlaps none of `used`."""
    octets = [octet for octet in range(256) if octet not in _TAKEN_OCTETS]
    total = len(octets) * 64
    taken = list(used)
    start = int(seed, 16) % total
    for step in range(total):
        octet, quarter = divmod((start + step) % total, 64)
        link = IPv4Network(f"169.254.{octets[octet]}.{quarter * 4}/30")
        if not any(link.overlaps(other) for other in taken):
            return link
    raise Problem("No free link-local network is left for a lab", "169.254.0.0/16")


def host_end(link: str) -> str:
    return str(IPv4Network(link)[1])


def lab_end(link: str) -> str:
    return str(IPv4Network(link)[2])


def overlaps(labs: dict[str, IPv4Network], needed: Iterable[Needed]) -> list[Problem]:
    """One problem for each lab network that holds something the host needs."""
    found = []
    for item in needed:
        for name, network in labs.items():
            if network.overlaps(item.network):
                found.append(
                    Problem(
                        f"The lab's {name} network {network} overlaps {item.why}",
                        f"pillar/topology.yaml: networks.{name}.cidr",
                        "choose another network there, and addresses in it for the hosts",
                    )
                )
    return found


def host_needs(uris: Iterable[str]) -> list[Needed]:
    """What this host uses: its addresses, routes, resolvers, and where `uris` are served."""
    needs = []
    for link in _ip("address"):
        for info in link.get("addr_info", []):
            if info.get("family") == "inet":
                text = f"{info['local']}/{info['prefixlen']}"
                network = IPv4Network(text, strict=False)
                needs.append(Needed(network, f"this host's address {text} ({link['ifname']})"))
    for route in _ip("route"):
        if route.get("dst", "default") != "default":
            network = IPv4Network(route["dst"], strict=False)
            needs.append(Needed(network, f"this host's route to {route['dst']}"))
    for address in resolvers():
        needs.append(Needed(IPv4Network(address), f"this host's name server {address}"))
    for host in sorted({urlsplit(uri).hostname or "" for uri in uris} - {""}):
        for address in lookup(host):
            needs.append(Needed(IPv4Network(address), f"the address {address} of {host}"))
    return needs


def _ip(what: str) -> list[dict]:
    done = subprocess.run(["ip", "-4", "-json", what, "show"], capture_output=True, check=True)
    return json.loads(done.stdout or "[]")


def used_links() -> list[IPv4Network]:
    """Link-local networks in use on this host."""
    return [
        need.network
        for need in host_needs([])
        if need.network.subnet_of(IPv4Network("169.254.0.0/16"))
    ]


def lookup(host: str) -> list[str]:
    try:
        found = socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)
    except OSError:
        return []
    return sorted({str(entry[4][0]) for entry in found})


def parse_resolvers(text: str) -> list[str]:
    """IPv4 name servers of a resolv.conf that are not on the loopback."""
    found = re.findall(r"^nameserver\s+(\S+)", text, re.MULTILINE)
    return [item for item in found if _is_usable(item)]


def _is_usable(address: str) -> bool:
    try:
        return not IPv4Address(address).is_loopback
    except ValueError:
        return False


def resolvers() -> list[str]:
    """Name servers that guests can ask: those behind a local stub where the host has one."""
    for file in _RESOLVER_FILES:
        if file.exists() and (found := parse_resolvers(file.read_text())):
            return found[:3]
    return []


def outward_interfaces(targets: Iterable[str]) -> list[str]:
    """Interfaces by which the host reaches the world and `targets`."""
    found = {route["dev"] for route in _ip("route") if route.get("dst") == "default"}
    for target in targets:
        done = subprocess.run(
            ["ip", "-4", "-json", "route", "get", target], capture_output=True, check=False
        )
        if done.returncode == 0:
            found |= {route["dev"] for route in json.loads(done.stdout or "[]")}
    return sorted(found - {"lo"})
