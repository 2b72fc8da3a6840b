"""Machines on demand, with media-1's networks inside, and a call to try RTPEngine in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from voip_stack.problem import Problem
from voip_stack.vm import image as images
from voip_stack.vm import payload
from voip_stack.vm.machine import Machine, layer
from voip_stack.vm.qmp import LAYER

# The networks of media-1 with one neighbour each: all inside the machine.
NETWORKS = """
ip link set lo up
for pair in "{internal} {inside} inside" "{external} {outside} outside"; do
    set -- $pair
    nic=${{1%%=*}} address=${{1#*=}}
    ip netns add $3
    ip link add $nic type veth peer name $nic netns $3
    ip address add $address/24 dev $nic
    ip link set $nic up
    ip -n $3 address add $2/24 dev $nic
    ip -n $3 link set $nic up
done
"""


class Machines:
    """room: an empty directory with a short path."""

    def __init__(self, room: Path):
        self.room = room
        self.image = images.ensure(room)
        self.payload = payload.make()
        self.pillar = self.payload.pillar
        external = self.pillar["self"]["addresses"]["external"].rpartition(".")[0]
        # The PBX, and a device.
        self.peers = {"inside": self.pillar["peers"]["pbx"][0], "outside": f"{external}.100"}
        self._count = 0

    @contextmanager
    def boot(self, release: str, disk: Path | None = None) -> Iterator[Machine]:
        """A machine, its networks up: thawed, or booted from the disk of an earlier one."""
        room = self._room()
        boot = self.image.boot(release)
        if disk:
            machine = Machine(boot, disk, room)
        else:
            kept = images.frozen(self.image, release, self._room())
            machine = Machine(boot, layer(kept.disk, room / f"disk.{LAYER}"), room, kept.memory)
        with machine:
            machine.unpack(self.payload.archive)
            machine.shell(self._networks())
            yield machine

    def fork(self, machine: Machine) -> Machine:
        """A machine that goes on from where this one is, once it is entered."""
        return machine.fork(self._room())

    @contextmanager
    def converged(self, release: str) -> Iterator[Machine]:
        """A machine that forwards in its kernel, by the states. Problem when one fails."""
        with self.boot(release) as machine:
            for name, ret in machine.apply(payload.SLS).items():
                if ret["result"] is False:
                    raise Problem("The machine did not converge", name, ret["comment"])
            yield machine

    def call(self, machine: Machine, packets: int, warm: int = 0) -> dict[str, Any]:
        """What a call through RTPEngine gave (see guest/media.py)."""
        ng = [self.pillar["self"]["addresses"]["internal"], self.pillar["ports"]["rtpengine"]["ng"]]
        return machine.media(ng=ng, packets=packets, warm=warm, **self.peers)

    def _room(self) -> Path:
        self._count += 1
        room = self.room / f"machine-{self._count}"
        room.mkdir()
        return room

    def _networks(self) -> str:
        own = self.pillar["self"]
        ends = {name: f"{own['interfaces'][name]}={own['addresses'][name]}"
                for name in own["addresses"]}  # fmt: skip
        return NETWORKS.format(**ends, **self.peers)
