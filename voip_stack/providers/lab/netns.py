"""A lab's network namespace: both bridges in it, and one veth pair as its only way out."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from ipaddress import IPv4Network
from pathlib import Path

from voip_stack.pillar import Pillar
from voip_stack.providers.lab import addresses, egress
from voip_stack.providers.lab.commands import run
from voip_stack.providers.lab.registry import Record

RUN = Path("/run/netns")
# Where br_netfilter is loaded (Docker does it), frames between guests would pass the namespace's
# forward chain. IPv6 is the guests' own, between them: the namespace has none, so none leaves.
_SYSCTLS = {
    "net/bridge/bridge-nf-call-iptables": "0",
    "net/bridge/bridge-nf-call-ip6tables": "0",
    "net/bridge/bridge-nf-call-arptables": "0",
    "net/ipv4/ip_forward": "1",
    "net/ipv6/conf/all/disable_ipv6": "1",
    "net/ipv6/conf/default/disable_ipv6": "1",
}


def path(lab: str) -> Path:
    return RUN / lab


def veth(record: Record) -> str:
    return f"vs{record.short}"


def enter(lab: str, argv: Sequence[str]) -> list[str]:
    """`argv` inside the namespace. Not `ip netns exec`: that hides the cgroups."""
    return ["nsenter", f"--net={path(lab)}", *argv]


def exists(lab: str) -> bool:
    # A name whose mount is gone (after a reboot) is an empty file.
    return path(lab).exists() and run(["stat", "-fc", "%T", str(path(lab))]).strip() == "nsfs"


def ensure(record: Record, pillar: Pillar, exits: egress.Exits) -> None:
    """Make what is missing of the namespace, and load both rule tables anew."""
    lab = record.name
    if not exists(lab):
        path(lab).unlink(missing_ok=True)
        run(["ip", "netns", "add", lab])
    _ensure_link(record)
    _ensure_bridges(lab, pillar)
    for name, value in _SYSCTLS.items():
        run(
            enter(
                lab, ["sh", "-c", f"! test -e /proc/sys/{name} || echo {value} > /proc/sys/{name}"]
            )
        )
    ports = (pillar.master.publish, pillar.master.request)
    networks = [definition.cidr for definition in pillar.networks.values()]
    inside = egress.namespace_rules(
        str(pillar.networks["internal"].gateway),
        (addresses.host_end(record.link), ports),
        networks,
        exits,
    )
    run(enter(lab, ["nft", "-f", "-"]), stdin=inside)
    outside = egress.host_rules(lab, veth(record), IPv4Network(record.link), ports, exits)
    run(["nft", "-f", "-"], stdin=outside)


def _ensure_link(record: Record) -> None:
    lab, name = record.name, veth(record)
    if not Path("/sys/class/net", name).exists():
        run(["ip", "link", "add", name, "type", "veth", "peer", "name", "uplink", "netns", lab])
    run(["ip", "address", "replace", f"{addresses.host_end(record.link)}/30", "dev", name])
    run(["ip", "link", "set", name, "up"])
    inside = ["ip", "-n", lab]
    run([*inside, "link", "set", "lo", "up"])
    run([*inside, "address", "replace", f"{addresses.lab_end(record.link)}/30", "dev", "uplink"])
    run([*inside, "link", "set", "uplink", "up"])
    run([*inside, "route", "replace", "default", "via", addresses.host_end(record.link)])


def _ensure_bridges(lab: str, pillar: Pillar) -> None:
    inside = ["ip", "-n", lab]
    present = run([*inside, "-brief", "link", "show", "type", "bridge"])
    for network, bridge in (("internal", "br-int"), ("external", "br-ext")):
        definition = pillar.networks[network]  # type: ignore[index]
        if bridge not in present:
            # No spanning tree, no multicast snooping: a guest is reachable as it comes up.
            run([*inside, "link", "add", bridge, "type", "bridge", "mcast_snooping", "0"])
        address = f"{definition.gateway}/{definition.cidr.prefixlen}"
        run([*inside, "address", "replace", address, "dev", bridge])
        run([*inside, "link", "set", bridge, "up"])


def pass_host_firewall(record: Record) -> None:
    """Where the host's own FORWARD chain drops by default (Docker sets it so), let the lab by.

    An accept in the lab's table ends that table only: the host's other chains are asked as well.
    What the lab may send is decided in its own table all the same.
    """
    if not shutil.which("iptables"):
        return
    if "-P FORWARD DROP" not in run(["iptables", "-w", "-S", "FORWARD"], check=False):
        return
    for rule in _firewall_rules(record):
        if subprocess.run(
            ["iptables", "-w", "-C", *rule], capture_output=True, check=False
        ).returncode:
            run(["iptables", "-w", "-I", *rule])


def _firewall_rules(record: Record) -> list[list[str]]:
    comment = ["-m", "comment", "--comment", record.name, "-j", "ACCEPT"]
    return [["FORWARD", flag, veth(record), *comment] for flag in ("-i", "-o")]


def switch_on_forwarding(record: Record, resolvers: Sequence[str]) -> None:
    """Forward between the lab's veth and the host's way out; the host's other nics stay as is."""
    for name in [veth(record), *addresses.outward_interfaces(resolvers)]:
        switch = _forwarding(name)
        if switch.read_text().strip() == "0":
            if name != veth(record) and name not in record.forwarding:
                record.forwarding.append(name)
                record.save()
            switch.write_text("1")


def switch_off_forwarding(record: Record, others: Sequence[Record]) -> None:
    """Off again, unless another lab needs it: then that one inherits the duty."""
    for name in record.forwarding:
        heir = next((other for other in others if other.is_of_this_boot), None)
        if heir is not None:
            if name not in heir.forwarding:
                heir.forwarding.append(name)
                heir.save()
        elif _forwarding(name).exists():
            _forwarding(name).write_text("0")


def _forwarding(interface: str) -> Path:
    return Path("/proc/sys/net/ipv4/conf") / interface / "forwarding"


def remove(record: Record) -> None:
    """Namespace, veth pair and the host's table; each may be gone already."""
    run(["nft", "delete", "table", "inet", egress.table_name(record.name)], check=False)
    run(["ip", "link", "delete", veth(record)], check=False)
    if shutil.which("iptables"):
        for rule in _firewall_rules(record):
            run(["iptables", "-w", "-D", *rule], check=False)
    if path(record.name).exists():
        run(["ip", "netns", "delete", record.name], check=False)
        path(record.name).unlink(missing_ok=True)


def dropped(record: Record) -> int:
    """Packets that the namespace's table refused so far."""
    text = run(
        enter(record.name, ["nft", "list", "counter", "inet", "voip", "dropped"]), check=False
    )
    words = text.split()
    return int(words[words.index("packets") + 1]) if "packets" in words else 0
