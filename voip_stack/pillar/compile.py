"""Compile the pillar for one minion: derive firewall, listeners, certificates; leave out the rest.

A minion gets what its roles use and no more: another host's certificates, firewall or secrets'
names never reach it.
"""

from __future__ import annotations

from typing import Any

from voip_stack.pillar import proxy_size
from voip_stack.pillar.components import PROXIES
from voip_stack.pillar.health import probes
from voip_stack.pillar.schema import Host, Listener, Pillar, Relay

# Roles whose states need the routing policy.
ROUTED_ROLES = {"sip", "media", "pbx"}
# What of the subscribers each role's states read.
SUBSCRIBERS_OF = {
    "sip": ("digest", "count", "rows", "aliases", "record", "dtls"),
    "pbx": ("lengths", "forwards"),
}
TOLL_ROLES = {"sip"}


def compile_for(pillar: Pillar, host: str, facts: dict[str, Any]) -> dict[str, Any]:
    """Return what `host`'s states read as pillar['voip'].

    facts: what the control host found out: provider (str), packages ({component: {...}}) and
    ca_pem (str, absent until the PKI exists).
    """
    components = available(pillar, host, facts)
    roles = set(pillar.hosts[host].roles)
    provider = facts.get("provider", "lab")
    compiled: dict[str, Any] = {
        "site": pillar.site.model_dump(mode="json"),
        "provider": provider,
        "self": _self(pillar, host, components, provider),
        "hosts": _hosts(pillar),
        "ports": _ports(pillar),
        "peers": peers(pillar),
        "proxies": proxies(pillar, facts),
        "relays": relays(pillar, facts),
        "endpoints": _endpoints(pillar),
        "master": {"address": str(pillar.networks["internal"].gateway)}
        | pillar.master.model_dump(),
        "firewall": firewall(pillar, host, provider, facts),
        "egress": egress(pillar, host),
        "connections": connections(pillar, host, provider, facts),
        "versions": {
            name: floor.model_dump()
            for name, floor in pillar.versions.items()
            if name in components
        },
        "packages": _packages(pillar, components, facts),
        "vault": pillar.vault.model_dump(mode="json") | {"url": vault_url(pillar)},
        "pki": pillar.pki.model_dump(mode="json") | _ca(facts),
        "certificates": certificates(pillar, host, facts),
        "secrets": [name for role in pillar.hosts[host].roles for name in
                    pillar.secrets.get(role, [])],
    }  # fmt: skip
    compiled["probes"] = probes(pillar, host, components)
    if provider == "lima":
        compiled["management"] = pillar.providers.lima.management.model_dump(mode="json")
    for component in components:
        compiled[component] = getattr(pillar, component).model_dump(mode="json")
    for proxy in sorted(set(PROXIES) & set(components)):
        compiled[proxy]["database"]["port"] = pillar.pgbouncer.port
    if "kamailio" in components:
        compiled["kamailio"]["sizes"] = proxy_size.sizes(
            pillar.kamailio.capacity, pillar.routing.max_message_bytes
        )
    if roles & ROUTED_ROLES:
        compiled["routing"] = pillar.routing.model_dump(mode="json")
    if (entrance := shared(pillar, host, provider, facts)) is not None:
        compiled["shared"] = entrance
    if roles & TOLL_ROLES:
        compiled["toll"] = pillar.toll.model_dump(mode="json")
    for role, names in SUBSCRIBERS_OF.items():
        if role in roles:
            own = {name: getattr(pillar.subscribers, name) for name in names}
            compiled["subscribers"] = compiled.get("subscribers", {}) | own
    if "devstack" in roles:
        compiled["provisioning"] = _provisioning(pillar)
    return compiled


def is_available(component: str, facts: dict[str, Any]) -> bool:
    """False for a component whose packages no source has: everything else still comes up."""
    return facts.get("packages", {}).get(component, {}).get("source", "") is not None


def available(pillar: Pillar, host: str, facts: dict[str, Any]) -> list[str]:
    """What runs on `host`, in the order in which it converges."""
    return [name for name in pillar.components_of(host) if is_available(name, facts)]


def proxies(pillar: Pillar, facts: dict[str, Any]) -> list[str]:
    """The proxy daemons of the hosts with role sip that could be had, in order of preference."""
    return [
        name
        for name in pillar.roles.get("sip", [])
        if name in PROXIES and is_available(name, facts)
    ]


def primary(pillar: Pillar, facts: dict[str, Any]) -> str | None:
    """The proxy that new connections to the shared address go to: the declared one, or the one that
    could be had. None without any."""
    found = proxies(pillar, facts)
    declared = pillar.routing.primary_proxy
    return declared if declared in found else next(iter(found), None)


def shared(
    pillar: Pillar, host: str, provider: str, facts: dict[str, Any]
) -> dict[str, Any] | None:
    """A host's entrance to the primary proxy, None for one that has none.

    primary, others: proxies of this host. ways: of each, its listeners at the address and the port
    there that leads to them: {proxy: [{name, proto, address, port, to_port}]}.
    """
    own = pillar.hosts[host]
    found = [name for name in available(pillar, host, facts) if name in PROXIES]
    first = primary(pillar, facts)
    if own.shared is None or first not in found:
        return None
    addresses = [
        str(item) for item in (own.shared.external, own.shared.external_ipv6) if item is not None
    ]
    return {
        "interface": interface(pillar, "external", provider),
        "addresses": addresses,
        "primary": first,
        "others": [name for name in found if name != first],
        "ways": {
            proxy: [
                {
                    "name": name,
                    "proto": proto,
                    "address": address,
                    "port": port,
                    "to_port": pillar.services[proxy][name].ports[0],
                }
                for address in addresses
                for name, port in pillar.shared.items()
                for proto in pillar.services[proxy][name].proto
            ]
            for proxy in found
        },
    }


def proxies_of_hosts(pillar: Pillar, facts: dict[str, Any]) -> list[tuple[str, str]]:
    """(host, daemon) of every proxy that runs."""
    return [
        (host, name)
        for host in pillar.minions()
        for name in available(pillar, host, facts)
        if name in PROXIES
    ]


def vault_url(pillar: Pillar) -> str:
    """The Vault API's address as clients use it: by name, so that its certificate is verified."""
    return f"https://{pillar.vault.name}:{pillar.services['openbao']['api'].ports[0]}"


def relays(pillar: Pillar, facts: dict[str, Any]) -> list[dict[str, Any]]:
    """The media relays, by the name of the host that they are at home on.

    Each: name, internal and external (addresses of its calls; of the host itself where it does not
    float), ipv6 (see `_ipv6`), floats, drained (the proxies place no new call there).
    """
    found: list[dict[str, Any]] = []
    for name, host in pillar.hosts.items():
        if "rtpengine" not in pillar.components_of(name):
            continue
        entry: dict[str, Any] = {"name": name}
        for network in ("internal", "external"):
            if (address := getattr(host.relay or host, network)) is not None:
                entry[network] = str(address)
        entry |= _ipv6(host.relay or host)
        entry["floats"] = host.relay is not None
        entry["drained"] = name in facts.get("drained", {})
        found.append(entry)
    return found


def _ipv6(holder: Host | Relay) -> dict[str, dict[str, str]]:
    """{"ipv6": {network: address}} of a host or a relay, {} for one that has none."""
    address = holder.external_ipv6
    return {} if address is None else {"ipv6": {"external": str(address)}}


def _ipv6_in(holder: Host | Relay, network: str) -> str | None:
    return _ipv6(holder).get("ipv6", {}).get(network)


def peers(pillar: Pillar) -> dict[str, list[str]]:
    """Internal addresses by role, those of the media relays included, and the control host's."""
    found: dict[str, list[str]] = {role: [] for role in pillar.roles}
    for host in pillar.hosts.values():
        for role in host.roles:
            if host.internal is not None:
                found[role].append(str(host.internal))
            if host.relay is not None:
                found[role].append(str(host.relay.internal))
    found["control"] = [str(pillar.networks["internal"].gateway)]
    return found


def firewall(
    pillar: Pillar, host: str, provider: str, facts: dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    """The rules that let traffic in on `host`: everything else is dropped.

    facts: as of compile_for; what could not be had has no port.

    Each rule: name, interface, network, proto, ports ("5071", "30000-39999", "-" for vrrp),
    sources (list of addresses; empty means any).
    """
    rules: list[dict[str, Any]] = []
    for component in available(pillar, host, facts or {}):
        for name, listener in pillar.services.get(component, {}).items():
            if listener.port is None and pillar.hosts[host].relay is None:
                continue  # it takes nothing over
            rules += _rules(pillar, host, f"{component}/{name}", listener, provider)
    for listener in pillar.management[provider]:  # type: ignore[index]
        rules += _rules(pillar, host, f"management/{listener.name}", listener, provider)
    if provider == "lima":
        rules.append(_lima_ssh(pillar))
    return rules


def connections(
    pillar: Pillar, host: str, provider: str, facts: dict[str, Any]
) -> dict[str, Any] | None:
    """How many connections the proxies of `host` take of one source outside; None without any.

    {interface, ports: of all proxies together, most, sources: {address or network: another limit}}
    """
    if pillar.hosts[host].external is None:
        return None
    ports = {
        _port_text(listener.port)
        for component in set(PROXIES) & set(available(pillar, host, facts))
        for listener in pillar.services[component].values()
        if "external" in listener.networks and "tcp" in listener.proto
    }
    if not ports:
        return None
    toll = pillar.toll.model_dump(mode="json")
    return {
        "interface": interface(pillar, "external", provider),
        "ports": sorted(ports, key=int),
        "most": toll["connections_per_source"],
        "sources": toll["large_sources"],
    }


def interface(pillar: Pillar, network: str, provider: str) -> str:
    """The name of a network's interface in a guest of this provider."""
    own = pillar.providers.interface(provider, network)
    return own or pillar.networks[network].interface  # type: ignore[index]


def egress(pillar: Pillar, host: str) -> list[dict[str, Any]] | None:
    """What `host` may open connections to, None when that is not limited.

    Each rule: name, proto, ports, destinations (list of addresses; empty means any).
    """
    limits = [pillar.egress[role] for role in pillar.hosts[host].roles if role in pillar.egress]
    if not limits:
        return None
    control = str(pillar.networks["internal"].gateway)
    rules = [
        _outgoing("salt/master", "tcp", pillar.master.publish, [control]),
        _outgoing("salt/master", "tcp", pillar.master.request, [control]),
    ]
    for item in (item for limit in limits for item in limit.services):
        component, _, name = item.partition("/")
        listener = pillar.services[component][name]
        served = _served_at(pillar, component)
        if not served:
            continue  # nobody has it: without an address the rule would be for any
        rules += [_outgoing(item, proto, listener.port, served) for proto in listener.proto]
    for also in (also for limit in limits for also in limit.also):
        rules += [_outgoing(also.name, proto, also.port, []) for proto in also.proto]
    return rules


def certificates(
    pillar: Pillar, host: str, facts: dict[str, Any] | None = None
) -> dict[str, dict[str, Any]]:
    """The certificates that `host` holds: names, owner of the key, life, reload, listeners.

    facts: as of compile_for; what could not be had has none. role: the PKI role
    that signs it. listeners: [address, port] of where it must be shown.
    """
    definition = pillar.hosts[host]
    substitutes = {"proxy_name": pillar.site.proxy_name, "domain": pillar.site.domain}
    found = {}
    for component in available(pillar, host, facts or {}):
        wanted = pillar.certificates.get(component)
        if wanted is None or pillar.is_external(component):
            continue
        fqdn = f"{host}.{pillar.site.domain}"
        names = [fqdn, *(name.format(**substitutes) for name in wanted.names)]
        addresses = [definition.internal, definition.external, definition.external_ipv6]
        found[component] = {
            "common_name": fqdn,
            "alt_names": sorted(set(names)),
            "ip_sans": [str(address) for address in addresses if address is not None],
            "group": wanted.group,
            "mode": wanted.mode,
            "role": host,
            "ttl_s": wanted.ttl_s or pillar.pki.certificate_ttl_s,
            "renew_fraction": pillar.pki.renew_fraction,
            "reload": wanted.reload,
            "negotiation": wanted.negotiation,
            "revocation": wanted.revocation,
            "listeners": _listeners(pillar, definition, wanted.serves),
        }
    return found


def _listeners(pillar: Pillar, host: Host, services: list[str]) -> list[list[Any]]:
    """[address, port] of each of the services at each address of the host where it listens."""
    found: list[list[Any]] = []
    for item in services:
        component, _, name = item.partition("/")
        listener = pillar.services[component][name]
        for network in listener.networks:
            addresses = (getattr(host, network), _ipv6_in(host, network))
            found += [[str(item), listener.ports[0]] for item in addresses if item is not None]
    return found


def _outgoing(
    name: str, proto: str, port: int | tuple[int, int] | None, destinations: list[str]
) -> dict[str, Any]:
    return {"name": name, "proto": proto, "ports": _port_text(port), "destinations": destinations}


def _port_text(port: int | tuple[int, int] | None) -> str:
    if port is None:
        return "-"
    return f"{port[0]}-{port[1]}" if isinstance(port, tuple) else str(port)


def _served_at(pillar: Pillar, component: str) -> list[str]:
    """Every internal address where a component answers."""
    if component == "openbao":
        return [str(pillar.vault.address)]
    if component == "rtpengine":
        return [item["internal"] for item in relays(pillar, {}) if "internal" in item]
    return [
        str(host.internal)
        for name, host in pillar.hosts.items()
        if host.internal is not None and component in pillar.components_of(name)
    ]


def _lima_ssh(pillar: Pillar) -> dict[str, Any]:
    """limactl reaches the guest by Lima's own interface, which is in no network of ours."""
    management = pillar.providers.lima.management
    return {
        "name": "management/limactl",
        "network": "management",
        "interface": management.interface,
        "proto": "tcp",
        "ports": "22",
        "sources": [str(management.host)],
    }


def _self(pillar: Pillar, host: str, components: list[str], provider: str) -> dict[str, Any]:
    definition = pillar.hosts[host]
    addresses = {
        network: str(address)
        for network in ("internal", "external")
        if (address := getattr(definition, network)) is not None
    }
    networks = {
        name: pillar.networks[name].model_dump(mode="json", exclude_none=True)  # type: ignore[index]
        | {"interface": interface(pillar, name, provider)}
        for name in addresses
    }
    return {
        "name": host,
        "fqdn": f"{host}.{pillar.site.domain}",
        "roles": definition.roles,
        "components": components,
        "os": definition.os,
        "addresses": addresses,
        "listens": _listens(pillar, host, addresses),
        "interfaces": {name: network["interface"] for name, network in networks.items()},
        "networks": networks,
    } | _ipv6(definition)


def _listens(pillar: Pillar, host: str, own: dict[str, str]) -> dict[str, list[str]]:
    """{network: addresses} that `host` may be reached at: a relay's too that it may take over."""
    floating = pillar.floating() if pillar.hosts[host].relay is not None else {}
    holders: list[Host | Relay] = [pillar.hosts[host], *floating.values()]
    return {
        network: [str(getattr(holder, network)) for holder in holders]
        + [address for holder in holders if (address := _ipv6_in(holder, network))]
        for network in own
    }


def _hosts(pillar: Pillar) -> dict[str, dict[str, Any]]:
    found = {}
    for name, host in pillar.hosts.items():
        entry: dict[str, Any] = {"roles": host.roles, "fqdn": f"{name}.{pillar.site.domain}"}
        for network in ("internal", "external"):
            if (address := getattr(host, network)) is not None:
                entry[network] = str(address)
        found[name] = entry
    return found


def _ports(pillar: Pillar) -> dict[str, dict[str, Any]]:
    return {
        component: {
            name: list(item.port) if isinstance(item.port, tuple) else item.port
            for name, item in listeners.items()
            if item.port is not None
        }
        for component, listeners in pillar.services.items()
    }


def _endpoints(pillar: Pillar) -> dict[str, str]:
    found: dict[str, Any] = {}
    for name, host in pillar.hosts.items():
        for component in pillar.components_of(name):
            if host.internal is not None:
                found.setdefault(component, str(host.internal))
    found["openbao"] = str(pillar.vault.address)
    for name, service in (("postgresql", pillar.postgresql), ("redis", pillar.redis)):
        if service.external and service.address is not None:
            found[name] = str(service.address)
    return found


def _rules(
    pillar: Pillar, host: str, name: str, listener: Listener, provider: str
) -> list[dict[str, Any]]:
    addresses = peers(pillar)
    rules = []
    for network in listener.networks:
        if getattr(pillar.hosts[host], network) is None:
            continue
        sources: list[str] = []
        if "any" not in listener.sources:
            sources = sorted({item for role in listener.sources for item in addresses[role]})
            if not sources:
                continue  # the role exists on no host: nobody may come in
        rules += [
            {
                "name": name,
                "network": network,
                "interface": interface(pillar, network, provider),
                "proto": proto,
                "ports": _port_text(listener.port),
                "sources": sources,
            }
            for proto in listener.proto
        ]
    return rules


def _packages(pillar: Pillar, components: list[str], facts: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for component in components:
        if component in pillar.packages.components:
            wanted = pillar.packages.components[component].model_dump(mode="json")
            found[component] = wanted | facts.get("packages", {}).get(component, {})
    return found


def _ca(facts: dict[str, Any]) -> dict[str, str]:
    return {"ca_pem": facts["ca_pem"]} if facts.get("ca_pem") else {}


def _provisioning(pillar: Pillar) -> dict[str, Any]:
    """What the Vault's provisioning needs of each host: its address, names and secrets."""
    found = {}
    for name in pillar.minions():
        host = pillar.hosts[name]
        own = certificates(pillar, name)
        found[name] = {
            "address": str(host.internal),
            "addresses": sorted({item for entry in own.values() for item in entry["ip_sans"]}),
            "roles": host.roles,
            "secrets": [item for role in host.roles for item in pillar.secrets.get(role, [])],
            "names": sorted({item for entry in own.values() for item in entry["alt_names"]}),
            "access": _access(pillar, host.roles),
            # Of its longest certificate: the role that signs them allows no more.
            "ttl_s": max((entry["ttl_s"] for entry in own.values()), default=0),
        }
    return found


def _access(pillar: Pillar, roles: list[str]) -> dict[str, list[str]]:
    """Folders of the Vault's KV engine that these roles share with others: capabilities of each."""
    found: dict[str, set[str]] = {}
    for role in roles:
        for folder, capabilities in pillar.access.get(role, {}).items():
            found.setdefault(folder, set()).update(capabilities)
    return {folder: sorted(capabilities) for folder, capabilities in found.items()}
