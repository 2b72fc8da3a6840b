"""The port tables of docs/network-topology.md, generated from the pillar.

`python -m voip_stack.docs.ports` rewrites them; a unit test fails while the committed file differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from voip_stack import paths
from voip_stack.pillar import Pillar, load
from voip_stack.pillar.schema import Host, Listener, Relay

DOCUMENT = Path("docs") / "network-topology.md"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _ports(port: int | tuple[int, int] | None) -> str:
    if port is None:
        return "-"
    return f"{port[0]}-{port[1]}" if isinstance(port, tuple) else str(port)


def _protocols(names: Sequence[str]) -> str:
    return "/".join(name.upper() for name in names)


def _sources(listener: Listener, network: str) -> str:
    names = [f"any ({network} network)" if item == "any" else item for item in listener.sources]
    return ", ".join(names)


def _addresses(host: Host, network: str, none: str) -> str:
    own = _both(host, network) or none
    return f"{own}, relay {_both(host.relay, network)}" if host.relay else own


def _both(holder: Host | Relay, network: str) -> str:
    """The addresses of a host or a relay in a network, of either family."""
    found = [getattr(holder, network), getattr(holder, f"{network}_ipv6", None)]
    return " and ".join(str(address) for address in found if address is not None)


def hosts(pillar: Pillar) -> str:
    """One row a host: roles, components and addresses."""
    internal, external = (pillar.networks[name] for name in ("internal", "external"))
    outside = f"{external.cidr} and {external.ipv6}" if external.ipv6 else str(external.cidr)
    head = ["Host", "Roles", "Components", f"internal {internal.cidr}", f"external {outside}"]
    rows = [
        [
            name,
            ", ".join(host.roles),
            ", ".join(pillar.components_of(name)) or "-",
            _addresses(host, "internal", "-"),
            _addresses(host, "external", "never" if "pbx" in host.roles else "-"),
        ]
        for name, host in pillar.hosts.items()
    ]
    return _table(head, rows)


def incoming(pillar: Pillar) -> str:
    """One row a listener, host and network: everything else is dropped."""
    rows = []
    for name, host in pillar.hosts.items():
        for component in pillar.components_of(name):
            for listener_name, listener in pillar.services.get(component, {}).items():
                rows += [
                    [
                        name,
                        network,
                        _ports(listener.port),
                        _protocols(listener.proto),
                        f"{component}/{listener_name}",
                        _sources(listener, network),
                        listener.note,
                    ]
                    for network in listener.networks
                    if getattr(host, network) is not None
                ]
    return _table(["Host", "Network", "Port", "Protocol", "Service", "From", "Note"], rows)


def management(pillar: Pillar) -> str:
    """How each provider itself comes in, and where the Salt master listens."""
    rows = [
        [provider, _ports(item.port), _protocols(item.proto), item.name or "", item.sources[0]]
        for provider, listeners in pillar.management.items()
        for item in listeners
    ]
    lima = pillar.providers.lima.management
    rows.append(["lima", "22", "TCP", f"limactl, on {lima.interface}", str(lima.host)])
    gateway = pillar.networks["internal"].gateway
    rows += [
        ["all", str(port), "TCP", f"Salt master at {gateway}", "every minion"]
        for port in (pillar.master.publish, pillar.master.request)
    ]
    return _table(["Provider", "Port", "Protocol", "What", "From"], rows)


def outgoing(pillar: Pillar) -> str:
    """What the roles with an outgoing policy may open; other roles are not limited."""
    rows = []
    for role, egress in pillar.egress.items():
        master = f"{pillar.master.publish}, {pillar.master.request}"
        rows.append([role, "salt/master", master, "TCP", "control host"])
        for item in egress.services:
            component, _, name = item.partition("/")
            listener = pillar.services[component][name]
            where = f"hosts with {component}"
            ports, protocols = _ports(listener.port), _protocols(listener.proto)
            rows.append([role, item, ports, protocols, where])
        rows += [
            [role, also.name, _ports(also.port), _protocols(also.proto), "any"]
            for also in egress.also
        ]
    return _table(["Role", "Service", "Port", "Protocol", "To"], rows)


TABLES = {
    "hosts": hosts,
    "incoming": incoming,
    "management": management,
    "outgoing": outgoing,
}


def render(text: str, pillar: Pillar) -> str:
    """Return the document with its tables replaced. Raises ValueError without their markers."""
    for name, build in TABLES.items():
        begin, end = f"<!-- {name}: generated -->", f"<!-- {name}: end -->"
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise ValueError(f"no {begin} … {end} in the document")
        text = f"{before}{begin}\n{build(pillar)}\n{end}{after}"
    return text


def main() -> None:
    document = paths.checkout() / DOCUMENT
    document.write_text(render(document.read_text(), load(paths.pillar_dir())))


if __name__ == "__main__":
    main()
