"""Schema of pillar/providers.yaml: what Lima and existing hosts need beyond the topology."""

from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Interface = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]{0,14}$")]


class ProviderModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LimaImage(ProviderModel):
    location: Annotated[str, Field(pattern=r"^(https://|/|~/)\S+\.(qcow2|raw|img)$")]
    digest: Annotated[
        str | None,
        Field(pattern=r"^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$"),
    ] = None


class LimaNetwork(ProviderModel):
    """A network of Lima's networks.yaml. bridge: the Mac's interface, for mode bridged only."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,14}$")]
    mode: Literal["shared", "host", "bridged", "user-v2"]
    interface: Interface
    bridge: str | None = None


class LimaManagement(ProviderModel):
    """Lima's own user-mode interface, by which limactl reaches the guest."""

    interface: Interface = "eth0"
    address: IPv4Address = IPv4Address("192.168.5.15")
    host: IPv4Address = IPv4Address("192.168.5.2")
    cidr: IPv4Network = IPv4Network("192.168.5.0/24")


class Lima(ProviderModel):
    vm_type: Literal["vz", "qemu"] = "vz"
    images: dict[Literal["bookworm", "trixie"], dict[Literal["arm64", "amd64"], LimaImage]] = {}
    networks: dict[Literal["internal", "external"], LimaNetwork] = {}
    management: LimaManagement = LimaManagement()


class Hosts(ProviderModel):
    """Existing servers. interfaces: where they differ from topology.yaml's names."""

    user: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_-]{0,31}$")] = "root"
    port: Annotated[int, Field(ge=1, le=65535)] = 22
    identity_file: str | None = None
    connect_timeout_s: Annotated[int, Field(ge=1, le=120)] = 10
    interfaces: dict[Literal["internal", "external"], Interface] = {}


class Providers(ProviderModel):
    lima: Lima = Lima()
    hosts: Hosts = Hosts()

    def interface(self, provider: str, network: str) -> str | None:
        """The name of a network's interface on this provider, None when topology's holds."""
        if provider == "lima" and network in self.lima.networks:
            return self.lima.networks[network].interface
        if provider == "hosts":
            return self.hosts.interfaces.get(network)  # type: ignore[call-overload]
        return None
