"""The Lima provider: templates rendered, guests started, minions made."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path

from voip_stack import paths
from voip_stack.deployment import write_atomic
from voip_stack.pillar import Pillar
from voip_stack.problem import Problem
from voip_stack.providers.base import Guest, Progress
from voip_stack.providers.lima import plan, template
from voip_stack.providers.lima.limactl import Limactl
from voip_stack.providers.remote import RemoteProvider

SSH_FAILED = 255
# User-mode networks: these addresses of the network are Lima's own.
USER_MODE = "user-v2"
USER_MODE_HOST, USER_MODE_DNS = 2, 3
NOT_TRIED = "the Lima provider has been tested with a stand-in for limactl only"


class LimaProvider(RemoteProvider):
    name = "lima"

    def __init__(self, pillar: Pillar, limactl: Limactl | None = None, system: str = ""):
        super().__init__(pillar)
        self.limactl = limactl or Limactl()
        self.system = system or platform.system()

    @classmethod
    def detect(cls) -> bool:
        return Limactl().is_installed()

    @property
    def is_user_mode(self) -> bool:
        """User-mode networks need no root, but the host has no route to the guests."""
        return self.pillar.providers.lima.networks["internal"].mode == USER_MODE

    @property
    def master_address(self) -> str:
        """vmnet gives the Mac the gateway's address; in user mode guests reach its loopback."""
        if self.is_user_mode:
            return "127.0.0.1"
        return str(self.pillar.networks["internal"].gateway)

    def master_for(self, host: str) -> str:
        internal = self.pillar.networks["internal"]
        if self.is_user_mode:
            return str(internal.cidr.network_address + USER_MODE_HOST)
        return str(internal.gateway)

    def packages_needed(self) -> list[str]:
        return []

    def problems(self) -> list[Problem]:
        """Why this machine cannot hold the guests; [] when it can."""
        if not self.limactl.is_installed():
            return [Problem("limactl is not installed", how="brew install lima")]
        found = []
        version = plan.parse_version(self.limactl.read("--version"))
        if version < plan.MINIMUM_VERSION:
            wanted = ".".join(map(str, plan.MINIMUM_VERSION))
            found.append(Problem(f"limactl {wanted} or newer is needed", how="brew upgrade lima"))
        modes = {name: item.mode for name, item in self.pillar.providers.lima.networks.items()}
        if self.system != "Darwin" and any(mode != USER_MODE for mode in modes.values()):
            found.append(
                Problem(
                    "Lima's shared and bridged networks exist on macOS only",
                    where="pillar/providers.yaml: providers.lima.networks",
                    how=f"mode {USER_MODE} for each network, or --provider lab on Linux",
                )
            )
        if self.system != "Darwin" and self.pillar.providers.lima.vm_type == "vz":
            found.append(
                Problem(
                    "vmType vz exists on macOS only",
                    where="pillar/providers.yaml: providers.lima.vm_type",
                    how="vm_type: qemu",
                )
            )
        return found + self._address_problems()

    def _address_problems(self) -> list[Problem]:
        if not self.is_user_mode:
            return []
        start = self.pillar.networks["internal"].cidr.network_address
        taken = {start + USER_MODE_HOST, start + USER_MODE_DNS}
        return [
            Problem(
                f"{self.pillar.hosts[name].internal} is Lima's own in a {USER_MODE} network",
                where=f"pillar/topology.yaml: hosts.{name}.internal",
                how="another address",
            )
            for name in self.pillar.minions()
            if self.pillar.hosts[name].internal in taken
        ]

    def prepare_network(self, progress: Progress) -> None:
        """Networks and guests: vmnet's address is on the Mac only while a guest is on it."""
        networks = plan.parse_networks(self.limactl.read("network", "list", "--json"))
        for arguments in plan.plan_networks(self.pillar, networks):
            progress(f"network {arguments[2]}")
            self.limactl.act(arguments, self._log())
        templates = self._write_templates()
        for arguments in plan.plan_up(self._listed(), templates):
            progress(f"limactl {arguments[0]} {arguments[-1] if arguments[0] == 'start' else ''}")
            self.limactl.act(arguments, self._log())

    def guests(self) -> dict[str, Guest]:
        listed = self._listed() if self.limactl.is_installed() else {}
        return {name: self._guest(name, listed.get(name)) for name in self.pillar.minions()}

    def _guest(self, name: str, listed: plan.Guest | None) -> Guest:
        states = {plan.RUNNING: "running", plan.STOPPED: "stopped"}
        definition = self.pillar.hosts[name]
        return Guest(
            name,
            state=states.get(listed.status, "unknown") if listed else "absent",
            internal=str(definition.internal),
            external=str(definition.external) if definition.external else None,
            os=definition.os,
            vcpus=definition.vcpus,
            memory_mib=definition.memory_mib,
            note="; ".join(listed.errors) if listed else "",
        )

    def command(self, host: str, argv: Sequence[str], *, tty: bool = False) -> list[str]:
        # limactl shell makes a terminal exactly when its own streams are one.
        return self.limactl.command(plan.guest_argv(host, list(argv)))

    def way_failed(self, host: str, code: int, stderr: str) -> Problem | None:
        # ssh's own failure, and limactl's, which goes to standard error as level=fatal.
        if code == SSH_FAILED or (code == 1 and "level=fatal" in stderr):
            where = stderr.splitlines()[-1] if stderr else ""
            return Problem(f"no way into {host}", where, f"limactl start {host}")
        return None

    def roster(self) -> dict:
        """salt-ssh by addresses; the user is the one that Lima made of the Mac's."""
        return {
            host: {"host": str(self.pillar.hosts[host].internal), "sudo": True}
            for host in self.pillar.minions()
        }

    def remove(self, host: str, progress: Progress) -> None:
        self._delete([host], progress)

    def destroy(self, progress: Progress) -> None:
        """Delete our guests. Lima's networks stay: other guests may be on them."""
        self._delete(self.pillar.minions(), progress)

    def _delete(self, names: Sequence[str], progress: Progress) -> None:
        if not self.limactl.is_installed():
            return
        for arguments in plan.plan_destroy(self._listed(), names):
            progress(f"delete {arguments[-1]}")
            self.limactl.act(arguments, self._log())

    def notes(self) -> list[str]:
        return [NOT_TRIED]

    def _listed(self) -> dict[str, plan.Guest]:
        return plan.parse_guests(self.limactl.read("list", "--json"))

    def _write_templates(self) -> dict[str, Path]:
        directory = paths.state_dir() / "guests"
        directory.mkdir(parents=True, exist_ok=True)
        arch = template.host_arch()
        found = {}
        for host in self.pillar.minions():
            found[host] = directory / f"{host}.yaml"
            write_atomic(found[host], template.render(self.pillar, host, arch, self.lock(host)))
        return found

    def _log(self) -> Path:
        paths.logs_dir().mkdir(parents=True, exist_ok=True)
        return paths.logs_dir() / "limactl.log"


PROVIDER = LimaProvider
