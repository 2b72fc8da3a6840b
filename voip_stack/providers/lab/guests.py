"""A guest's files: copied from its image, then what makes it this host of this lab."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from voip_stack import cache, paths
from voip_stack.master import keys
from voip_stack.pillar import Pillar
from voip_stack.problem import Problem
from voip_stack.providers import bootstrap
from voip_stack.providers.lab import images, nspawn, units
from voip_stack.providers.lab.commands import run_said

SPARE_MIB = 1024
# Beyond what every minion has: few processes, no lookups, nothing that a container cannot have.
MINION_OPTIONS = {
    "state_output": "changes",
    "mine_enabled": False,
    "beacons_before_connect": False,
    "grains_cache": True,
    "disable_grains": ["esxi", "fibre_channel", "iscsi", "lvm", "mdadm", "metadata", "napalm",
                       "nvme", "nxos", "philips_hue", "rest_sample", "smartos", "ssh_sample",
                       "zfs"],
    "tcp_keepalive_idle": 30,
    "recon_default": 500,
    "recon_max": 3000,
    "acceptance_wait_time": 2,
    "random_reauth_delay": 2,
    "auth_timeout": 10,
    "telemetry": {"enabled": False},
}  # fmt: skip


def directory() -> Path:
    return paths.state_dir() / "guests"


def root(name: str) -> Path:
    return directory() / name


def spec(pillar: Pillar, name: str) -> nspawn.Spec:
    host = pillar.hosts[name]
    external = pillar.networks["external"].interface if host.external else None
    console = paths.logs_dir() / f"console-{name}.log"
    return nspawn.Spec(name, root(name), host.internal is not None, external, console)


def copy(name: str, image: Path) -> None:
    """Copy a guest from its image, under its name only when whole."""
    final = root(name)
    partial = final.with_name(f".partial-{name}")
    cache.remove(partial)
    final.parent.mkdir(parents=True, exist_ok=True)
    os.chmod(final.parent, 0o700)
    code, said = run_said(["cp", "--archive", "--reflink=auto", str(image), str(partial)])
    if code:
        cache.remove(partial)
        if "No space left" in said:
            raise full_disk(final.parent)
        raise Problem(f"The guest {name} could not be copied: {said.strip()[-300:]}", str(image))
    (partial / "etc/machine-id").write_text(f"{uuid.uuid4().hex}\n")
    partial.rename(final)


def index_time(name: str) -> float:
    """When the guest's image, and its package index with it, was made: seconds since the epoch."""
    stamp = root(name) / images.STAMP
    return stamp.stat().st_mtime if stamp.is_file() else 0.0


def require_space(copies: Sequence[Path]) -> None:
    """Problem unless the images to copy fit where the guests go, with some to spare."""
    target = next(path for path in (directory(), *directory().parents) if path.exists())
    wanted = sum(_size_mib(image) for image in copies) + SPARE_MIB
    free = shutil.disk_usage(target).free // 2**20
    if copies and free < wanted:
        raise Problem(
            f"The disk is too full for the guests: {free} MiB free, {wanted} MiB needed",
            str(directory()),
            "free some space, or move the state directory (VOIP_STATE_DIR), then ./voip up",
        )


def _size_mib(image: Path) -> int:
    done = subprocess.run(["du", "-sm", str(image)], capture_output=True, text=True, check=False)
    return int(done.stdout.split()[0]) if done.stdout else 0


def full_disk(where: Path) -> Problem:
    return Problem(
        "The disk is full", str(where), "free some space, then ./voip up: it goes on from here"
    )


@contextmanager
def full_disk_said(where: Path) -> Iterator[None]:
    """Turn "no space left" from anything inside into a Problem."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise full_disk(where) from error
        raise


def configure(pillar: Pillar, name: str, resolvers: Sequence[str]) -> None:
    """Write what makes the copy this host. Safe to repeat; a running minion keeps its settings."""
    base = root(name)
    host = pillar.hosts[name]
    _require_inside(base, base / "etc/systemd/system")
    units.install(base, is_minion=host.is_minion)
    _write(base, "etc/hostname", f"{name}\n")
    _write(base, "etc/resolv.conf", "".join(f"nameserver {item}\n" for item in resolvers))
    if host.internal is None:
        _write(base, "etc/resolv.conf", "# The lab's outside: no way to a name server.\n")
    _write(base, "etc/hosts", _hosts(pillar, name))
    _write(base, units.NETWORK_ENVIRONMENT, network_environment(pillar, name))
    if host.is_minion:
        gateway = str(pillar.networks["internal"].gateway)
        ports = (pillar.master.publish, pillar.master.request)
        lock = (paths.checkout() / "requirements/minion.lock").read_text()
        for file in bootstrap.minion_files(name, gateway, ports, keys.ensure_minion(name), lock):
            _write(base, file.path, file.text, int(file.mode, 8))
        options = "".join(f"{key}: {json.dumps(value)}\n" for key, value in MINION_OPTIONS.items())
        _write(base, "etc/salt/minion.d/lab.conf", options)


def _hosts(pillar: Pillar, name: str) -> str:
    """Enough for a first boot; the state `base` writes the whole file."""
    return f"127.0.0.1 localhost\n127.0.1.1 {name}.{pillar.site.domain} {name}\n"


def network_environment(pillar: Pillar, name: str) -> str:
    """Shell variables for units.NETWORK_SCRIPT."""
    host, lines = pillar.hosts[name], []
    for network, address in (("internal", host.internal), ("external", host.external)):
        if address is None:
            continue
        definition = pillar.networks[network]  # type: ignore[index]
        lines += [f"{network.upper()}={address}/{definition.cidr.prefixlen}",
                  f"{network.upper()}_NIC={definition.interface}"]  # fmt: skip
        if network == "internal":
            lines.append(f"GATEWAY={definition.gateway}")
        if network == "external" and host.external_ipv6 and definition.ipv6:
            lines.append(f"EXTERNAL_IPV6={host.external_ipv6}/{definition.ipv6.prefixlen}")
    return "".join(f"{line}\n" for line in lines)


def has_addresses_of(pillar: Pillar, name: str) -> bool:
    """Whether the guest was told the addresses that the pillar has now."""
    file = root(name) / units.NETWORK_ENVIRONMENT.lstrip("/")
    return file.is_file() and file.read_text() == network_environment(pillar, name)


def _write(base: Path, name: str, text: str, mode: int = 0o644) -> None:
    """Write below a guest's root. A guest may have planted links: none is followed out of it."""
    file = base / name.lstrip("/")
    _require_inside(base, file.parent)
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.is_file() and not file.is_symlink() and file.read_text() == text:
        file.chmod(mode)
        return
    temporary = file.with_name(f".{file.name}.voip")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
    temporary.chmod(mode)
    temporary.replace(file)


def _require_inside(base: Path, folder: Path) -> None:
    if not folder.resolve().is_relative_to(base.resolve()):
        raise Problem(f"{folder} leads out of its guest", str(base), "./voip destroy, ./voip up")
