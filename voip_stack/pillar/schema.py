"""The pillar's schema: topology, services, versions, vault, policies, packages.

Each model mirrors one part of a file in pillar/. Unknown keys are refused: a misspelt key would
otherwise be a setting that silently does nothing.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, InstanceOf, model_validator

from voip_stack.pillar import components as component_models
from voip_stack.pillar import proxy_size
from voip_stack.pillar.health import Repair
from voip_stack.pillar.packages import Packages
from voip_stack.pillar.providers import Providers
from voip_stack.pillar.toll import Toll
from voip_stack.subscribers.directory import Directory

HostName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$", max_length=63)]
DomainName = Annotated[str, Field(pattern=r"^[a-z0-9-]+(\.[a-z0-9-]+)+$", max_length=253)]
Port = Annotated[int, Field(ge=1, le=65535)]
Network = Literal["internal", "external"]
Capability = Literal["create", "read", "update", "list"]
Provider = Literal["lab", "lima", "hosts"]
# Of its host's memory, for a proxy's shared pool: the rest is for its processes and for others.
PROXY_SHARE = 0.6


class PillarValueError(ValueError):
    """A problem found by comparing several values; `location` is the key path of the culprit."""

    def __init__(self, location: tuple, message: str):
        self.location = location
        super().__init__(message)


def _shared_folder(value: str) -> str:
    if value == "hosts":
        raise ValueError("a shared folder expected: what is below hosts/ is each host's own")
    return value


KvFolder = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$"), AfterValidator(_shared_folder)]


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Site(Model):
    name: HostName
    domain: DomainName
    proxy_name: DomainName


class NetworkDefinition(Model):
    """ipv6: of the external network only, where devices come by IPv6 too."""

    cidr: IPv4Network
    ipv6: IPv6Network | None = None
    gateway: IPv4Address
    interface: Annotated[str, Field(pattern=r"^[a-z][a-z0-9]{0,14}$")]


class Relay(Model):
    """The addresses of a media relay's calls: they go with them to another media host."""

    internal: IPv4Address
    external: IPv4Address
    external_ipv6: IPv6Address | None = None


class Shared(Model):
    """An address more of a proxy's host: who comes there comes to the primary proxy."""

    external: IPv4Address
    external_ipv6: IPv6Address | None = None


class Host(Model):
    roles: Annotated[list[str], Field(min_length=1)]
    os: Literal["bookworm", "trixie"]
    internal: IPv4Address | None = None
    external: IPv4Address | None = None
    external_ipv6: IPv6Address | None = None
    relay: Relay | None = None
    shared: Shared | None = None
    vcpus: Annotated[int, Field(ge=1, le=64)]
    memory_mib: Annotated[int, Field(ge=256, le=1_048_576)]
    disk_gib: Annotated[int, Field(ge=4, le=65_536)]
    ssh: str | None = None  # `hosts` provider: [user@]address[:port], default the internal address

    @property
    def is_minion(self) -> bool:
        """A host without the internal network is the lab's outside: no Salt minion."""
        return self.internal is not None


class Listener(Model):
    """port: none for vrrp, which is beside UDP and TCP."""

    name: str | None = None
    port: Port | tuple[Port, Port] | None = None
    proto: Annotated[list[Literal["udp", "tcp", "vrrp"]], Field(min_length=1)]
    networks: Annotated[list[Network], Field(min_length=1)]
    sources: Annotated[list[str], Field(min_length=1, alias="from")]
    note: str = ""

    @model_validator(mode="after")
    def _has_port(self) -> Listener:
        if (self.port is None) != (self.proto == ["vrrp"]):
            raise ValueError("a port expected, and none for vrrp alone")
        return self

    @property
    def ports(self) -> tuple[int, int]:
        """(first, last). Raises LookupError for vrrp."""
        if self.port is None:
            raise LookupError(f"{self.proto[0]} has no ports")
        return self.port if isinstance(self.port, tuple) else (self.port, self.port)


class MasterPorts(Model):
    publish: Port
    request: Port


class Outgoing(Model):
    """Connections that a role may open to any address (DNS, package archives)."""

    name: str
    port: Port | tuple[Port, Port]
    proto: Annotated[list[Literal["udp", "tcp"]], Field(min_length=1)]


class Egress(Model):
    """What a role may open connections to. services: component/listener of services.yaml."""

    services: list[str] = []
    also: list[Outgoing] = []


class VersionFloor(Model):
    """mended: older branches with the fix carried back, as {start of the version: lowest safe}."""

    minimum: str
    safe: str
    why: str
    mended: dict[str, str] = {}


class Vault(Model):
    external: bool
    address: IPv4Address
    name: DomainName
    kv_mount: str
    pki_root_mount: str
    pki_mount: str
    approle_mount: str
    wrap_ttl_s: Annotated[int, Field(ge=10, le=3600)]
    secret_id_ttl_s: Annotated[int, Field(ge=60)]
    renew_fraction: Annotated[float, Field(gt=0, lt=1)]
    token_ttl_s: Annotated[int, Field(ge=30)]


class Pki(Model):
    key_type: Literal["ec-p256"]
    root_ttl_s: Annotated[int, Field(ge=3600)]
    intermediate_ttl_s: Annotated[int, Field(ge=3600)]
    certificate_ttl_s: Annotated[int, Field(ge=60)]
    backdate_s: Annotated[int, Field(ge=0, le=300)]
    renew_fraction: Annotated[float, Field(gt=0, lt=1)]
    crl_ttl_s: Annotated[int, Field(ge=3600)]
    crl_rebuild_s: Annotated[int, Field(ge=600)]
    crl_refresh_s: Annotated[int, Field(ge=10)]

    @model_validator(mode="after")
    def _lists_overlap(self) -> Pki:
        if 2 * self.crl_rebuild_s > self.crl_ttl_s:
            raise PillarValueError(
                ("pki", "crl_rebuild_s"),
                "half of pki.crl_ttl_s at most expected: so long may the Vault be away",
            )
        return self


class Rotation(Model):
    """How old a secret may become, and how its rotation goes."""

    database_max_age_s: Annotated[int, Field(ge=60)] = 7_776_000
    api_max_age_s: Annotated[int, Field(ge=60)] = 15_552_000
    check_interval_s: Annotated[int, Field(ge=10)] = 600
    drain_s: Annotated[int, Field(ge=0, le=3600)] = 30

    def ages(self) -> dict[str, int]:
        """Greatest age in seconds, by kind of secret."""
        return {"database": self.database_max_age_s, "api": self.api_max_age_s}


class CertificateDefinition(Model):
    names: list[str] = []
    group: str
    mode: str = "0640"
    ttl_s: Annotated[int, Field(ge=60)] | None = None
    reload: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$")]
    serves: Annotated[list[str], Field(min_length=1)]
    negotiation: Literal["postgresql"] | None = None
    # Function that tells the file of revocation lists by which the daemon checks its peers.
    revocation: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$")] | None = None


class RegisterExpires(Model):
    min: Annotated[int, Field(ge=10)]
    default: Annotated[int, Field(ge=10)]
    max: Annotated[int, Field(ge=10)]


class Pike(Model):
    requests: Annotated[int, Field(ge=1)]
    seconds: Annotated[int, Field(ge=1)]
    ban_s: Annotated[int, Field(ge=1)]


class Registrations(Model):
    """In a second, at each proxy: per_second of all devices, per_source of one address.
    spread_s: by chance, beyond a device's turn."""

    per_second: Annotated[int, Field(ge=1, le=100_000)]
    per_source: Annotated[int, Field(ge=1, le=100_000)]
    spread_s: Annotated[int, Field(ge=1, le=600)]
    longest_wait_s: Annotated[int, Field(ge=1, le=3600)]


class Routing(Model):
    primary_proxy: Literal["kamailio", "opensips"]
    cleartext_trunks: list[IPv4Address]
    max_forwards: Annotated[int, Field(ge=1, le=255)]
    max_message_bytes: Annotated[int, Field(ge=1024, le=65_535)]
    register_expires_s: RegisterExpires
    max_contacts: Annotated[int, Field(ge=1, le=100)]
    codecs: Annotated[list[Literal["PCMA", "PCMU", "G722", "opus"]], Field(min_length=1)]
    echo_extension: Annotated[str, Field(pattern=r"^\*[0-9]{2,4}$")]
    ring_timeout_s: Annotated[int, Field(ge=5, le=300)]
    srtp_suites: Annotated[
        list[Literal["AES_CM_128_HMAC_SHA1_80", "AEAD_AES_128_GCM", "AEAD_AES_256_GCM"]],
        Field(min_length=1),
    ]
    digest_algorithm: Literal["MD5", "SHA-256"]
    probe_interval_s: Annotated[int, Field(ge=1, le=3600)]
    retry_after_s: Annotated[int, Field(ge=1, le=3600)]
    # Each becomes part of a regular expression inside a quoted string of the routing language.
    scanners: list[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]]
    pike: Pike
    registrations: Registrations


class Pillar(Model):
    site: Site
    networks: dict[Network, NetworkDefinition]
    roles: dict[HostName, list[str]]
    hosts: dict[HostName, Host]
    services: dict[str, dict[str, Listener]]
    shared: dict[str, Port] = {}
    management: dict[Provider, list[Listener]]
    egress: dict[str, Egress] = {}
    master: MasterPorts
    versions: dict[str, VersionFloor]
    vault: Vault
    pki: Pki
    secrets: dict[str, list[str]]
    rotation: Rotation = Rotation()
    access: dict[HostName, dict[KvFolder, list[Capability]]] = {}
    routing: Routing
    toll: Toll
    packages: Packages
    certificates: dict[str, CertificateDefinition]
    subscribers: InstanceOf[Directory]
    providers: Providers = Providers()
    repair: Repair = Repair()
    kamailio: component_models.Kamailio
    opensips: component_models.Opensips
    asterisk: component_models.Asterisk
    rtpengine: component_models.Rtpengine
    openbao: component_models.Openbao
    postgresql: component_models.Postgresql
    redis: component_models.Redis
    callstore: component_models.Callstore
    pgbouncer: component_models.Pgbouncer
    webphone: component_models.Webphone

    @model_validator(mode="after")
    def _consistent(self) -> Pillar:
        for name, host in self.hosts.items():
            _check_host(self, name, host)
        _check_unique_addresses(self)
        _check_relays(self)
        _check_ipv6(self)
        _check_shared(self)
        _check_services(self)
        _check_certificates(self)
        _check_suites(self)
        _check_capacity(self)
        return self

    def is_external(self, component: str) -> bool:
        """Whether an existing server stands in for the component: its owner's, not ours."""
        settings = self.vault if component == "openbao" else getattr(self, component, None)
        return bool(getattr(settings, "external", False))

    def minions(self) -> list[str]:
        """Names of the hosts that have a Salt minion."""
        return [name for name, host in self.hosts.items() if host.is_minion]

    def floating(self) -> dict[str, Relay]:
        """{host: relay} of the media hosts that take over each other's calls; {} for none."""
        return {name: host.relay for name, host in self.hosts.items() if host.relay is not None}

    def components_of(self, host: str) -> list[str]:
        """What a host runs, in the order in which it converges."""
        return [item for role in self.hosts[host].roles for item in self.roles[role]]


def _check_host(pillar: Pillar, name: str, host: Host) -> None:
    for index, role in enumerate(host.roles):
        if role not in pillar.roles:
            known = ", ".join(pillar.roles)
            raise PillarValueError(("hosts", name, "roles", index), f"a role expected: {known}")
    if name in ("provision", "operator"):
        raise PillarValueError(("hosts", name), "another name expected: it is a Vault identity's")
    if host.internal is None and host.external is None:
        raise PillarValueError(("hosts", name), "an internal or external address expected")
    if "pbx" in host.roles and host.external is not None:
        raise PillarValueError(
            ("hosts", name, "external"), "a PBX has no external address (design: never reachable)"
        )
    for network in ("internal", "external"):
        address = getattr(host, network)
        definition = pillar.networks[network]
        if address is not None and address not in definition.cidr:
            raise PillarValueError(
                ("hosts", name, network), f"an address inside {definition.cidr} expected"
            )
        if address is not None and address == definition.gateway:
            raise PillarValueError(("hosts", name, network), "this is the network's gateway")


def _check_unique_addresses(pillar: Pillar) -> None:
    seen: dict[IPv4Address | IPv6Address, str] = {}
    fields = ("internal", "external", "external_ipv6")
    places: list[tuple[str, ...]] = [(field,) for field in fields]
    places += [(more, field) for more in ("relay", "shared") for field in fields]
    for name, host in pillar.hosts.items():
        for where in places:
            holder: Any = host if len(where) == 1 else getattr(host, where[0])
            address = getattr(holder, where[-1], None)
            if address is None:
                continue
            if address in seen:
                raise PillarValueError(
                    ("hosts", name, *where), f"{address} belongs to {seen[address]} already"
                )
            seen[address] = name


def _check_relays(pillar: Pillar) -> None:
    """A relay's addresses go from one media host to another, and its calls through our Redis."""
    floating = pillar.floating()
    for name, relay in floating.items():
        host = pillar.hosts[name]
        if "rtpengine" not in pillar.components_of(name) or not (host.internal and host.external):
            raise PillarValueError(
                ("hosts", name, "relay"), "a media host with an address in both networks expected"
            )
        for network in ("internal", "external"):
            definition, address = pillar.networks[network], getattr(relay, network)
            if address not in definition.cidr or address == definition.gateway:
                raise PillarValueError(
                    ("hosts", name, "relay", network),
                    f"a free address of {definition.cidr} expected",
                )
    if len(floating) == 1:
        raise PillarValueError(
            ("hosts", *floating, "relay"), "a second media host with a relay to take over expected"
        )
    runs = {component for name in pillar.minions() for component in pillar.components_of(name)}
    if floating and "callstore" not in runs:
        raise PillarValueError(
            ("hosts", next(iter(floating)), "relay"), "a host that runs callstore expected"
        )


def _check_shared(pillar: Pillar) -> None:
    """A shared address is one more of a host that has proxies, and each of its ports is theirs."""
    for name, host in pillar.hosts.items():
        if host.shared is None:
            continue
        if not set(component_models.PROXIES) & set(pillar.components_of(name)):
            raise PillarValueError(("hosts", name, "shared"), "a host with a proxy expected")
        for field in ("external", "external_ipv6"):
            address, own = getattr(host.shared, field), getattr(host, field)
            external = pillar.networks["external"]
            cidr: Any = external.cidr if field == "external" else external.ipv6
            if address is not None and (own is None or cidr is None or address not in cidr):
                raise PillarValueError(
                    ("hosts", name, "shared", field),
                    f"an address inside {cidr} expected, and {field} of the host",
                )
    for name in pillar.shared:
        for proxy in component_models.PROXIES:
            if name not in pillar.services[proxy]:
                raise PillarValueError(("shared", name), f"a listener of {proxy} expected")


def _check_ipv6(pillar: Pillar) -> None:
    """Devices come by IPv6 where the proxies and every media relay have an address of it."""
    if pillar.networks["internal"].ipv6 is not None:
        raise PillarValueError(
            ("networks", "internal", "ipv6"), "no IPv6 expected: the internal network is IPv4"
        )
    cidr = pillar.networks["external"].ipv6
    has_proxy = any(
        host.external_ipv6 and set(component_models.PROXIES) & set(pillar.components_of(name))
        for name, host in pillar.hosts.items()
    )
    for name, host in pillar.hosts.items():
        for where, holder in ((("external_ipv6",), host), (("relay", "external_ipv6"), host.relay)):
            address = getattr(holder, "external_ipv6", None)
            if address is None:
                continue
            if cidr is None or address not in cidr:
                expected = f"an address inside {cidr}" if cidr else "networks.external.ipv6 first"
                raise PillarValueError(("hosts", name, *where), f"{expected} expected")
            if host.external is None or host.external_ipv6 is None:
                raise PillarValueError(
                    ("hosts", name, *where), "an IPv4 and an IPv6 address of the host expected too"
                )
        if has_proxy and "rtpengine" in pillar.components_of(name):
            field = ("relay", "external_ipv6") if host.relay else ("external_ipv6",)
            if (host.relay or host).external_ipv6 is None:
                raise PillarValueError(
                    ("hosts", name, *field), "an address expected: the proxies take calls by IPv6"
                )


def _check_services(pillar: Pillar) -> None:
    known = {"any", "control", *pillar.roles}
    for component, listeners in pillar.services.items():
        for name, listener in listeners.items():
            where = ("services", component, name)
            if unknown := [item for item in listener.sources if item not in known]:
                raise PillarValueError(
                    (*where, "from"), f"roles, control or any expected, not {unknown[0]}"
                )
            if listener.port is not None and listener.ports[0] > listener.ports[1]:
                raise PillarValueError((*where, "port"), "[first, last] expected, first <= last")
    _check_media_ports(pillar)
    for role, egress in pillar.egress.items():
        if role not in pillar.roles:
            raise PillarValueError(("egress", role), f"a role expected: {', '.join(pillar.roles)}")
        for index, item in enumerate(egress.services):
            component, _, name = item.partition("/")
            if name not in pillar.services.get(component, {}):
                raise PillarValueError(
                    ("egress", role, "services", index), "component/listener of services expected"
                )


def _check_certificates(pillar: Pillar) -> None:
    """What a certificate's daemon serves is a listener that is declared, for TCP."""
    for name, certificate in pillar.certificates.items():
        for index, item in enumerate(certificate.serves):
            component, _, listener = item.partition("/")
            known = pillar.services.get(component, {}).get(listener)
            if known is None or "tcp" not in known.proto:
                raise PillarValueError(
                    ("certificates", name, "serves", index),
                    "component/listener of services.yaml expected, with TCP",
                )
        ttl_s = certificate.ttl_s or pillar.pki.certificate_ttl_s
        if ttl_s > pillar.pki.intermediate_ttl_s:
            raise PillarValueError(
                ("certificates", name, "ttl_s"), "less than pki.intermediate_ttl_s expected"
            )


def _check_media_ports(pillar: Pillar) -> None:
    """RTPEngine has one range for all its interfaces."""
    listeners = pillar.services.get("rtpengine", {})
    ranges = {name: item.ports for name, item in listeners.items() if name.startswith("rtp")}
    for name, ports in ranges.items():
        if ports != ranges.get("rtp", ports):
            where = ("services", "rtpengine", name, "port")
            raise PillarValueError(where, f"the range of rtpengine/rtp expected: {ranges['rtp']}")


def _check_suites(pillar: Pillar) -> None:
    """Asterisk's SDES has one suite: without it no call reaches the PBX."""
    suite = "AES_CM_128_HMAC_SHA1_80"
    runs = {component for components in pillar.roles.values() for component in components}
    if "asterisk" in runs and suite not in pillar.routing.srtp_suites:
        raise PillarValueError(("routing", "srtp_suites"), f"{suite} expected among them: Asterisk")


def _check_capacity(pillar: Pillar) -> None:
    """What a proxy is to hold fits into the memory of its host."""
    longest = pillar.routing.max_message_bytes
    needed = proxy_size.sizes(pillar.kamailio.capacity, longest)["shm_mib"]
    for name, host in pillar.hosts.items():
        if "kamailio" in pillar.components_of(name) and needed > host.memory_mib * PROXY_SHARE:
            message = (
                f"needs {needed} MiB of shared memory, and {name} has {host.memory_mib} MiB in all:"
                f" at most {PROXY_SHARE:.0%} of them expected"
            )
            raise PillarValueError(("kamailio", "capacity"), message)
