"""Which processes serve: a daemon that was started anew between two looks has not gone on."""

from __future__ import annotations

from dataclasses import dataclass

from voip_stack.bench.repair import services
from voip_stack.pillar import Pillar
from voip_stack.providers.base import Provider
from voip_stack.repair import hosts

PROPERTIES = ("MainPID", "NRestarts")


@dataclass(frozen=True)
class Daemon:
    """main_pid and restarts as systemd tells them."""

    main_pid: int
    restarts: int


def units(pillar: Pillar) -> dict[tuple[str, str], str]:
    """(host, service) -> systemd unit, of every service that is probed."""
    return {(host, service): hosts.unit(host, service) for host, service in services(pillar)}


def look(provider: Provider, known: dict[tuple[str, str], str]) -> dict[tuple[str, str], Daemon]:
    """known: see `units`."""
    return {key: _look(provider, key[0], unit) for key, unit in known.items()}


def _look(provider: Provider, host: str, unit: str) -> Daemon:
    argv = ["systemctl", "show", "--property", ",".join(PROPERTIES), unit]
    text = provider.run(host, argv).stdout.decode()
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    return Daemon(int(values["MainPID"]), int(values["NRestarts"]))


def changed(
    before: dict[tuple[str, str], Daemon], after: dict[tuple[str, str], Daemon]
) -> list[str]:
    """'HOST SERVICE: process 812 is 1433 now' of every daemon that was started anew."""
    return [
        f"{host} {service}: process {before[host, service].main_pid} is {now.main_pid} now"
        for (host, service), now in after.items()
        if now != before[host, service]
    ]
