"""The hosts provider: servers that exist already, reached by SSH."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from voip_stack.pillar import Pillar
from voip_stack.problem import Problem
from voip_stack.providers.base import Guest, Progress
from voip_stack.providers.bootstrap import UNIT, VENV
from voip_stack.providers.hosts import ssh
from voip_stack.providers.remote import RemoteProvider

AT_ONCE = 8
SSH_FAILED = 255
Result = TypeVar("Result")


class HostsProvider(RemoteProvider):
    name = "hosts"

    def __init__(self, pillar: Pillar, known_hosts: Path | None = None):
        super().__init__(pillar)
        self.known_hosts = known_hosts or Path.home() / ".ssh" / "known_hosts"

    @classmethod
    def detect(cls) -> bool:
        """Never by itself: servers are changed when they are named."""
        return False

    @property
    def master_address(self) -> str:
        return str(self.pillar.networks["internal"].gateway)

    def master_for(self, host: str) -> str:
        return self.master_address

    def packages_needed(self) -> list[str]:
        return ["openssh-client"]

    def problems(self) -> list[Problem]:
        """What keeps us from logging in: each host is asked, all at once."""
        if shutil.which("ssh") is None:
            return [Problem("ssh is not installed", how="apt-get install openssh-client")]
        return [problem for problem in self._each(self._login_problem) if problem]

    def _login_problem(self, host: str) -> Problem | None:
        try:
            release = self.get(host, "/etc/os-release").decode()
        except Problem as problem:
            return problem
        wanted = f"VERSION_CODENAME={self.pillar.hosts[host].os}"
        if wanted not in release.splitlines():
            return Problem(
                f"{host} is not the Debian release that the topology says",
                where=f"pillar/topology.yaml: hosts.{host}.os",
                how=f"{wanted} is expected in its /etc/os-release",
            )
        return None

    def prepare_network(self, progress: Progress) -> None:
        """The network is there already."""

    def guests(self) -> dict[str, Guest]:
        return {guest.name: guest for guest in self._each(self._guest)}

    def _guest(self, host: str) -> Guest:
        definition = self.pillar.hosts[host]
        state, note = "running", ""
        try:
            self.run(host, ["true"])
        except Problem as problem:
            state, note = "unknown", str(problem)
        return Guest(
            host,
            state=state,
            internal=str(definition.internal),
            external=str(definition.external) if definition.external else None,
            os=definition.os,
            note=note,
        )

    def _each(self, function: Callable[[str], Result]) -> list[Result]:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(function, self.pillar.minions()))

    def command(self, host: str, argv: Sequence[str], *, tty: bool = False) -> list[str]:
        return ssh.command(self.pillar, host, list(argv), self.known_hosts, tty)

    def way_failed(self, host: str, code: int, stderr: str) -> Problem | None:
        if code != SSH_FAILED:
            return None
        where = ssh.target(self.pillar, host)
        return Problem(
            f"no way into {host} ({where.user}@{where.address}:{where.port})",
            stderr.splitlines()[-1] if stderr else "",
            ssh.explain(stderr, where),
        )

    def roster(self) -> dict:
        return ssh.roster(self.pillar, self.pillar.minions())

    def destroy(self, progress: Progress) -> None:
        """Take the minions away. The servers, their services and data stay as they are."""
        for host in self.pillar.minions():
            self.remove(host, progress)

    def remove(self, host: str, progress: Progress) -> None:
        script = (
            f"systemctl disable --now --quiet salt-minion; rm -rf {VENV} /etc/salt/minion "
            f"/etc/salt/pki/minion {UNIT}; systemctl daemon-reload"
        )
        progress(f"{host}: remove the minion")
        self.run(host, ["/bin/sh", "-c", script])

    def notes(self) -> list[str]:
        return ["destroy removes the minions only: servers and services stay"]


PROVIDER = HostsProvider
