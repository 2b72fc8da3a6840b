"""What Lima guests and existing servers share: making a minion of a host that has a shell.

A subclass says which failures of its command are the way's own (`way_failed`): limactl's, ssh's.
"""

from __future__ import annotations

import subprocess
from abc import abstractmethod
from collections.abc import Sequence

from voip_stack import paths
from voip_stack.master import keys
from voip_stack.problem import Problem
from voip_stack.providers import bootstrap
from voip_stack.providers.base import Progress, Provider

# Building a minion's environment on a slow line.
INSTALL_S = 1200


class RemoteProvider(Provider):
    """A provider whose hosts are reached by a program."""

    @abstractmethod
    def master_for(self, host: str) -> str:
        """The master's address as `host` sees it."""

    @abstractmethod
    def way_failed(self, host: str, code: int, stderr: str) -> Problem | None:
        """The Problem when not the command failed but the way to it, else None."""

    def lock(self, host: str) -> str:
        """What pip installs for the host's minion: OpenBao's server has a wheel of its own."""
        directory = paths.checkout() / "requirements"
        names = ["minion.lock"]
        if "openbao" in self.pillar.components_of(host):
            names.append("devstack.lock")
        return bootstrap.lock_text((directory / name).read_text() for name in names)

    def run(
        self,
        host: str,
        argv: Sequence[str],
        *,
        stdin: bytes | None = None,
        check: bool = True,
        timeout: float | None = 60,
    ) -> subprocess.CompletedProcess[bytes]:
        """As every provider's; a broken way is a Problem even without `check`."""
        try:
            done = super().run(host, argv, stdin=stdin, check=False, timeout=timeout)
        except FileNotFoundError as error:
            raise Problem(f"{error.filename} is not installed") from error
        said = done.stderr.decode(errors="replace").strip()
        if done.returncode and (problem := self.way_failed(host, done.returncode, said)):
            raise problem
        if check and done.returncode:
            raise Problem(
                f"A command on {host} failed (exit {done.returncode}): {said[-1000:]}",
                argv[0],
                f"./voip shell {host}",
            )
        return done

    def make_minion(self, host: str, progress: Progress) -> None:
        """Install, configure and start the minion; nothing happens when all is there already."""
        ports = (self.pillar.master.publish, self.pillar.master.request)
        files = bootstrap.minion_files(
            host, self.master_for(host), ports, keys.ensure_minion(host), self.lock(host)
        )
        progress(f"{host}: files of the minion")
        written = self.run(
            host, bootstrap.write_files_argv(), stdin=bootstrap.files_input(files).encode()
        )
        progress(f"{host}: packages of the minion")
        self.run(
            host,
            bootstrap.install_argv(),
            stdin=bootstrap.install_script().encode(),
            timeout=INSTALL_S,
        )
        progress(f"{host}: start the minion")
        self.run(host, bootstrap.start_argv(written.stdout.decode().splitlines()))

    def ensure_guests(self, progress: Progress) -> None:
        for host in self.pillar.minions():
            self.make_minion(host, progress)
