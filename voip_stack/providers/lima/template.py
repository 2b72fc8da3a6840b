"""Render a guest's Lima template from lima/*.yaml and the pillar."""

from __future__ import annotations

import json
import platform
import textwrap
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import jinja2
import yaml

from voip_stack import paths
from voip_stack.pillar import Pillar
from voip_stack.problem import Problem
from voip_stack.providers.bootstrap import install_script

# Debian's names of an architecture, and Lima's.
LIMA_ARCH = {"amd64": "x86_64", "arm64": "aarch64"}
MACHINE_ARCH = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


def host_arch() -> str:
    """This machine's architecture by Debian's name. Raises Problem for one without images."""
    machine = platform.machine()
    if machine not in MACHINE_ARCH:
        raise Problem(f"no guest image for {machine}", how="use a machine with amd64 or arm64")
    return MACHINE_ARCH[machine]


def render(pillar: Pillar, host: str, arch: str, lock: str) -> str:
    """Return the Lima YAML of one guest.

    arch: amd64 or arm64. lock: the minion's requirements with hashes. Raises Problem when the
    pillar names no image for that release and architecture, or no network.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(paths.checkout() / "lima"),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - the output is YAML; every value goes through `y`
        keep_trailing_newline=True,
    )
    environment.filters |= {"y": _yaml_value, "block": _yaml_block}
    context = _context(pillar, host, arch, lock)
    return environment.get_template(f"{context['role']}.yaml").render(context)


def _yaml_value(value: Any) -> str:
    """A value as YAML on one line: JSON is YAML, and quotes whatever needs it.

    Lima's own `{{.Name}}` templates are refused instead of being expanded by accident.
    """
    return json.dumps(_without_templates(value), ensure_ascii=False)


def _yaml_block(text: str) -> str:
    """Lines of text as a literal block, so that a person can read the rendered file."""
    return "|\n" + textwrap.indent(_without_templates(text), "    ").rstrip("\n")


def _without_templates(value: Any) -> Any:
    if isinstance(value, str) and "{{" in value:
        raise Problem("a value for Lima contains {{, which Lima would expand")
    return value


def _context(pillar: Pillar, host: str, arch: str, lock: str) -> dict[str, Any]:
    definition = pillar.hosts[host]
    settings = pillar.providers.lima
    try:
        image = settings.images[definition.os][arch]  # type: ignore[index]
    except KeyError as error:
        raise Problem(
            f"no image of {definition.os} for {arch}",
            where=f"pillar/providers.yaml: providers.lima.images.{definition.os}.{arch}",
            how="name a cloud image and its digest there",
        ) from error
    addresses = _addresses(pillar, host)
    return {
        "host": host,
        "site": pillar.site.name,
        "role": definition.roles[0],
        "arch": LIMA_ARCH[arch],
        "vm_type": settings.vm_type,
        "image": image.model_dump(),
        "vcpus": definition.vcpus,
        "memory": f"{definition.memory_mib}MiB",
        "disk": f"{definition.disk_gib}GiB",
        "networks": [settings.networks[name].model_dump() for name in addresses],  # type: ignore[index]
        "netplan": netplan(pillar, host),
        "lock": lock,
        "scripts": _scripts(
            {
                settings.networks[name].interface: address  # type: ignore[index]
                for name, address in addresses.items()
            }
        ),
    }


def _addresses(pillar: Pillar, host: str) -> dict[str, IPv4Address]:
    """{network: address} of the guest's networks. Raises Problem for one that Lima has not."""
    found: dict[str, IPv4Address] = {}
    for network in ("internal", "external"):
        address = getattr(pillar.hosts[host], network)
        if address is None:
            continue
        if network not in pillar.providers.lima.networks:
            raise Problem(
                f"Lima has no {network} network",
                where=f"pillar/providers.yaml: providers.lima.networks.{network}",
                how="name it there",
            )
        found[network] = address
    return found


def netplan(pillar: Pillar, host: str) -> str:
    """The guest's fixed addresses. Merged by netplan over what cloud-init wrote for Lima."""
    ethernets = {}
    for network, address in _addresses(pillar, host).items():
        interface = pillar.providers.lima.networks[network].interface  # type: ignore[index]
        prefix = pillar.networks[network].cidr.prefixlen  # type: ignore[index]
        ethernets[interface] = {
            "dhcp4": False,
            "addresses": [f"{address}/{prefix}"],
            "link-local": [],
        } | _ipv6(pillar, host, network, f"{address}/{prefix}")
    return yaml.safe_dump({"network": {"version": 2, "ethernets": ethernets}}, sort_keys=False)


def _ipv6(pillar: Pillar, host: str, network: str, ipv4: str) -> dict[str, Any]:
    """What an interface has instead where the pillar gives it an IPv6 address; {} elsewhere."""
    address, cidr = pillar.hosts[host].external_ipv6, pillar.networks["external"].ipv6
    if network != "external" or address is None or cidr is None:
        return {}
    addresses = [ipv4, f"{address}/{cidr.prefixlen}"]
    return {"addresses": addresses, "link-local": ["ipv6"], "accept-ra": False}


def _scripts(addresses: dict[str, IPv4Address]) -> dict[str, str]:
    """The scripts of lima/scripts/ with the guest's addresses filled in, and the minion's."""
    pairs = " ".join(f"{interface}={address}" for interface, address in addresses.items())
    directory: Path = paths.checkout() / "lima" / "scripts"
    scripts = {
        path.stem: path.read_text().replace("__ADDRESSES__", pairs)
        for path in sorted(directory.glob("*.sh"))
    }
    return scripts | {"minion": install_script()}
