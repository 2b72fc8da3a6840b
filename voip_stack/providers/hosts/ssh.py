"""How a server is reached: argument lists of ssh, and the roster of salt-ssh. Pure functions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voip_stack.pillar import Pillar
from voip_stack.problem import Problem
from voip_stack.providers.bootstrap import quoted

_TARGET = re.compile(
    r"(?:(?P<user>[a-z_][a-z0-9_-]*)@)?(?P<address>[^@:\s-][^@:\s]*)(?::(?P<port>\d+))?"
)


@dataclass(frozen=True)
class Target:
    """Where a host's SSH server is."""

    user: str
    address: str
    port: int

    @property
    def is_root(self) -> bool:
        return self.user == "root"


def target(pillar: Pillar, host: str) -> Target:
    """The host's `ssh` of topology.yaml, filled up from providers.yaml and its address.

    Raises Problem for text that is not [user@]address[:port].
    """
    definition = pillar.hosts[host]
    defaults = pillar.providers.hosts
    text = definition.ssh or str(definition.internal or definition.external)
    match = _TARGET.fullmatch(text)
    if match is None:
        raise Problem(
            f"not an SSH target: {text!r}",
            where=f"pillar/topology.yaml: hosts.{host}.ssh",
            how="[user@]address[:port]",
        )
    return Target(
        match["user"] or defaults.user, match["address"], int(match["port"] or defaults.port)
    )


def options(pillar: Pillar, known_hosts: Path) -> list[str]:
    """ssh's options: no question is ever asked, and an unknown host key is refused."""
    settings = pillar.providers.hosts
    found = [
        "-o",
        "BatchMode=yes",
        "-o",
        "StrictHostKeyChecking=yes",
        "-o",
        f"UserKnownHostsFile={known_hosts}",
        "-o",
        f"ConnectTimeout={settings.connect_timeout_s}",
        "-o",
        "ServerAliveInterval=15",
        "-o",
        "ForwardAgent=no",
    ]
    if settings.identity_file:
        found += ["-i", settings.identity_file, "-o", "IdentitiesOnly=yes"]
    return found


def command(
    pillar: Pillar, host: str, argv: list[str], known_hosts: Path, tty: bool = False
) -> list[str]:
    """The argument list that runs argv as root on a host. ssh joins words, so they are quoted."""
    where = target(pillar, host)
    words = argv if where.is_root or not argv else ["sudo", "-n", "--", *argv]
    if not argv and not where.is_root:
        words = ["sudo", "-n", "-i"]
    return [
        "ssh",
        *options(pillar, known_hosts),
        "-tt" if tty else "-T",
        "-p",
        str(where.port),
        f"{where.user}@{where.address}",
        *([quoted(words)] if words else []),
    ]


def roster(pillar: Pillar, hosts: list[str]) -> dict[str, dict[str, Any]]:
    """The hosts for salt-ssh (`salt-ssh '*' test.ping`)."""
    settings = pillar.providers.hosts
    found = {}
    for host in hosts:
        where = target(pillar, host)
        entry: dict[str, Any] = {"host": where.address, "user": where.user, "port": where.port}
        if not where.is_root:
            entry["sudo"] = True
        if settings.identity_file:
            entry["priv"] = settings.identity_file
        found[host] = entry
    return found


def explain(stderr: str, where: Target) -> str:
    """What to do about ssh's own failure (exit code 255)."""
    hints = {
        "Host key verification failed": f"compare the key with the server's own "
        f"(ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub there), then: "
        f"ssh-keyscan -p {where.port} {where.address} >> the known_hosts file",
        "Permission denied": f"let the key of this user log in as {where.user}: ssh-copy-id",
        "Connection refused": f"start sshd on {where.address}, or give its port in topology.yaml",
        "timed out": f"check the route to {where.address} and its firewall",
        "Could not resolve": "give an address, or a name that resolves here, in topology.yaml",
    }
    return next((hint for text, hint in hints.items() if text in stderr), "ssh -v tells more")
