"""What a provider is: it makes the hosts of the pillar exist, each with an address and a shell."""

from __future__ import annotations

import shlex
import socket
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from voip_stack.pillar import Pillar
from voip_stack.problem import Problem

Progress = Callable[[str], None]

# Replaces the file in one step: a reader sees the old content or the new, and so do two that write.
_PUT = (
    'umask 077 && mkdir -p "$(dirname "$1")" && new=$(mktemp "$1.XXXXXX") && '
    'cat > "$new" && chmod "$2" "$new" && mv -f "$new" "$1" || { rm -f "$new"; exit 1; }'
)


@dataclass(frozen=True)
class Guest:
    """A host as its provider sees it. state: running, starting, stopped, absent, unknown."""

    name: str
    state: str
    internal: str | None = None
    external: str | None = None
    os: str = ""
    vcpus: float | None = None
    memory_mib: int | None = None
    memory_used_mib: int | None = None
    uptime_s: int | None = None
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Lab:
    """A lab of this machine, whoever's it is."""

    name: str
    state: str
    user: str
    checkout: str
    created: str
    guests: int
    memory_mib: int
    disk_mib: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Provider(ABC):
    """One way to have hosts. Everything is idempotent; nothing here knows what they run."""

    name: ClassVar[str]

    def __init__(self, pillar: Pillar):
        self.pillar = pillar

    @classmethod
    @abstractmethod
    def detect(cls) -> bool:
        """Whether this is the machine for it."""

    @abstractmethod
    def packages_needed(self) -> list[str]:
        """Debian packages that this machine needs for it; empty where there is no apt."""

    @abstractmethod
    def problems(self) -> list[Problem]:
        """What keeps it from working here, once the packages are there."""

    @abstractmethod
    def prepare_network(self, progress: Progress) -> None:
        """Whatever must be there before the master can listen at `master_address`."""

    @property
    @abstractmethod
    def master_address(self) -> str:
        """This machine's address that the Salt master listens on."""

    @abstractmethod
    def ensure_guests(self, progress: Progress) -> None:
        """Every host of the pillar runs, reachable, its minion configured."""

    def fill_cache(self, progress: Progress) -> None:  # noqa: B027 - optional
        """Make now what is kept between deployments, so that a later `up` finds it."""

    def settle(self, progress: Progress) -> None:  # noqa: B027 - optional
        """Called after the hosts have converged."""

    def notes(self) -> list[str]:
        """What the user should know of how it was done (scaled limits and the like)."""
        return []

    @abstractmethod
    def guests(self) -> dict[str, Guest]:
        """Every host of the pillar as it is now."""

    @abstractmethod
    def command(self, host: str, argv: Sequence[str], *, tty: bool = False) -> list[str]:
        """The local command that runs `argv` as root on `host`, standard streams passed on."""

    def network_command(self, host: str, argv: Sequence[str]) -> list[str]:
        """The local command that runs `argv` of this machine in the network of `host`."""
        raise Problem(f"The provider {self.name} does not share its hosts' networks", host)

    @abstractmethod
    def remove(self, host: str, progress: Progress) -> None:
        """Remove one host, as `destroy` does all of them. It may be gone already."""

    @abstractmethod
    def destroy(self, progress: Progress) -> None:
        """Remove all of it. Parts may be gone already."""

    def roster(self) -> dict[str, Any]:
        """Hosts for salt-ssh: by the addresses of the pillar unless a provider knows better."""
        return {
            name: {"host": str(host.internal), "user": "root"}
            for name, host in self.pillar.hosts.items()
            if host.internal is not None
        }

    def run(
        self,
        host: str,
        argv: Sequence[str],
        *,
        stdin: bytes | None = None,
        check: bool = True,
        timeout: float | None = 60,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run `argv` as root on `host`. Problem when it fails and `check`, or takes too long.

        The input is never shown: secrets go by it.
        """
        shown = shlex.join(argv)[:200]
        try:
            done = subprocess.run(
                self.command(host, argv),
                input=stdin if stdin is not None else b"",
                capture_output=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise Problem(
                f"A command on {host} took longer than {timeout:.0f} s", shown, "./voip status"
            ) from error
        if check and done.returncode:
            said = (done.stderr or done.stdout).decode(errors="replace").strip()[-1000:]
            raise Problem(f"A command on {host} failed (exit {done.returncode}): {said}", shown)
        return done

    def connect(self, address: str, port: int, timeout_s: float = 5) -> socket.socket:
        """A TCP connection to a host's internal address, wherever that network is."""
        return socket.create_connection((address, port), timeout=timeout_s)

    def put(self, host: str, path: str, content: bytes, mode: int = 0o644) -> None:
        """Write a file on `host`, atomically."""
        self.run(host, ["sh", "-c", _PUT, "put", path, f"{mode:04o}"], stdin=content)

    def get(self, host: str, path: str) -> bytes:
        """Read a file of `host`."""
        return self.run(host, ["cat", "--", path]).stdout

    def shell(self, host: str, words: Sequence[str] = ()) -> int:
        """An interactive root shell, or `words`, on this terminal. Returns the exit code."""
        terminal = sys.stdin.isatty() and sys.stdout.isatty()
        argv = list(words) or ["bash", "--login"]
        return subprocess.run(self.command(host, argv, tty=terminal), check=False).returncode
