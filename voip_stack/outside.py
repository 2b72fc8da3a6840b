"""The lab's outside guest with more addresses and a program of ours, for a while."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from voip_stack.pillar import Pillar
from voip_stack.problem import Problem
from voip_stack.providers.base import Provider

_PACKAGE = Path(__file__).parent
# For a program to end, once its input has.
END_S = 30.0


def sources(pillar: Pillar, count: int) -> list[str]:
    """Addresses of the external network that nobody has. Raises Problem when it is too small."""
    network = pillar.networks["external"]
    taken = {network.gateway}
    for host in pillar.hosts.values():
        taken |= {host.external, host.relay.external if host.relay else None}  # type: ignore[arg-type]
    free = [address for address in list(network.cidr.hosts())[::-1] if address not in taken]
    if len(free) < count:
        raise Problem(
            f"{network.cidr} has {len(free)} free addresses, {count} expected",
            "pillar/topology.yaml",
        )
    return [str(address) for address in sorted(free[:count])]


@contextmanager
def addresses(
    pillar: Pillar, provider: Provider, guest: str, found: Sequence[str]
) -> Iterator[None]:
    """The guest has these addresses beside its own; afterwards none of them."""
    external = pillar.networks["external"]

    def change(verb: str) -> None:
        lines = [
            f"address {verb} {address}/{external.cidr.prefixlen} dev {external.interface}"
            for address in found
        ]
        command = ["ip", "-force", "-batch", "-"]
        provider.run(guest, command, stdin="\n".join(lines).encode())

    change("replace")
    try:
        yield
    finally:
        change("del")


@contextmanager
def program(
    provider: Provider, guest: str, directory: str, modules: Sequence[str]
) -> Iterator[list[str]]:
    """The command in the guest that runs modules[0]; its files are there while the block lasts.

    directory: of the guest. modules: all that it imports of this package, as
    "malformed.attacker"; each needs the standard library only.
    """
    for name in modules:
        *parents, _ = ["voip_stack", *name.split(".")]
        for depth in range(1, len(parents) + 1):
            init = "/".join([directory, *parents[:depth], "__init__.py"])
            provider.run(guest, ["mkdir", "-p", str(Path(init).parent)])
            provider.put(guest, init, b"")
        path = Path(*name.split(".")).with_suffix(".py")
        provider.put(guest, f"{directory}/voip_stack/{path}", (_PACKAGE / path).read_bytes())
    try:
        yield ["sh", "-c", f"cd {directory} && exec python3 -m voip_stack.{modules[0]}"]
    finally:
        provider.run(guest, ["rm", "-rf", directory])


class Conversation:
    """A program that is running: it takes a line and answers with one line of JSON, and ends with
    its input."""

    def __init__(self, argv: Sequence[str], where: str):
        self._where = where
        self._process = subprocess.Popen(
            list(argv), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Conversation:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.stdin:
            self._process.stdin.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def tell(self, line: str) -> None:
        """Raises Problem when it has ended."""
        try:
            print(line, file=self._process.stdin, flush=True)
        except OSError as err:
            raise self._ended() from err

    def ask(self, line: str) -> dict[str, Any]:
        """What it answers to a line. Raises Problem when it ends instead."""
        self.tell(line)
        answer = self._process.stdout.readline() if self._process.stdout else ""
        if not answer:
            raise self._ended()
        return dict(json.loads(answer))

    def _ended(self) -> Problem:
        return Problem("The program in the guest has ended", self._where, "read what it said above")
