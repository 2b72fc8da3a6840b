"""Lima's documented YAML fields, in our own words, for the templates that we render.

From the annotated templates/default.yaml and the rules of `limactl validate`, Lima 2.2. Only the
fields that we may use are here; any other key is refused, as Lima's strict mode does.
"""

import re
from ipaddress import IPv4Address
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

SIZE = re.compile(r"^\d+(\.\d+)?(B|KiB|MiB|GiB|TiB)$")
ABSOLUTE = Field(pattern=r"^/")


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Image(Strict):
    location: Annotated[str, Field(pattern=r"^(https://|/|~/)")]
    arch: Literal["x86_64", "aarch64"]
    digest: (
        Annotated[str, Field(pattern=r"^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$")] | None
    ) = None


class Containerd(Strict):
    system: bool
    user: bool


class Ssh(Strict):
    loadDotSSHPubKeys: bool
    forwardAgent: bool


class Network(Strict):
    """Exactly one of lima, socket and vzNAT; the name eth0 is reserved for Lima's own interface."""

    lima: str | None = None
    socket: str | None = None
    vzNAT: bool | None = None
    interface: Annotated[str, Field(min_length=1, max_length=15, pattern=r"^[^\s/]+$")]

    @model_validator(mode="after")
    def _one_kind(self):
        if sum(item is not None for item in (self.lima, self.socket, self.vzNAT)) != 1:
            raise ValueError("exactly one of lima, socket, vzNAT")
        if self.interface == "eth0":
            raise ValueError("eth0 is reserved")
        return self


class PortForward(Strict):
    guestIP: Annotated[IPv4Address, Field(strict=False)]
    guestIPMustBeZero: bool = False
    proto: Literal["tcp", "udp", "any"]
    ignore: bool = False


class Data(Strict):
    mode: Literal["data"]
    path: Annotated[str, ABSOLUTE]
    content: Annotated[str, Field(min_length=1)]
    owner: str
    permissions: Annotated[str, Field(pattern=r"^[0-7]{3,4}$")]


class Script(Strict):
    mode: Literal["system", "user", "boot"]
    script: Annotated[str, Field(pattern=r"^#!")]


class Probe(Strict):
    mode: Literal["readiness"]
    description: str
    script: Annotated[str, Field(pattern=r"^#!")]
    hint: str


class Instance(Strict):
    minimumLimaVersion: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")]
    vmType: Literal["vz", "qemu"]
    os: Literal["Linux"]
    arch: Literal["x86_64", "aarch64"]
    images: Annotated[list[Image], Field(min_length=1)]
    cpus: Annotated[int, Field(ge=1)]
    memory: Annotated[str, Field(pattern=SIZE.pattern)]
    disk: Annotated[str, Field(pattern=SIZE.pattern)]
    mounts: list
    containerd: Containerd
    ssh: Ssh
    networks: Annotated[list[Network], Field(min_length=1)]
    portForwards: list[PortForward]
    provision: list[Annotated[Data | Script, Field(discriminator="mode")]]
    probes: list[Probe]
    message: str

    @model_validator(mode="after")
    def _consistent(self):
        if any(image.arch != self.arch for image in self.images):
            raise ValueError("an image of another architecture")
        names = [network.interface for network in self.networks]
        if len(set(names)) != len(names):
            raise ValueError("an interface name is used twice")
        return self
