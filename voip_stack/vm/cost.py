"""What a packet costs that RTPEngine forwards: in the kernel, and in user space.

The CPU time is qemu's on the host: other work there makes a run longer, not dearer. What sending
and receiving cost by themselves, measured by a burst that nobody forwards, is taken off. Emulated
instructions are slower than a machine's own, all of them alike: the ratio is what counts.
"""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import dataclass
from typing import Any

from voip_stack.vm.lab import Machines
from voip_stack.vm.machine import PYTHON, Machine, MachineError

# How RTPEngine forwards, and what: the name of each, and its transport in SDP.
PATHS = ("kernel", "user")
PROFILES = {"rtp": "RTP/AVP", "srtp": "RTP/SAVP"}
POLL_S = 0.005
# Of what sending and receiving cost by themselves: two equal bursts differ by so much.
RESOLUTION = 0.05
LONG_S = 1800


@dataclass(frozen=True)
class Burst:
    """sent, received: packets; user, kernel: how many RTPEngine forwarded by each path."""

    sent: int
    received: int
    user: int
    kernel: int
    cpu_s: float

    @property
    def us_per_packet(self) -> float:
        return self.cpu_s / self.sent * 1e6


@dataclass(frozen=True)
class Cost:
    """Microseconds of CPU for one forwarded packet, without the ends' share."""

    user_us: float
    kernel_us: float

    @property
    def ratio(self) -> float:
        return self.user_us / self.kernel_us


def costs(bursts: dict[str, Burst]) -> dict[str, Cost]:
    """{profile: Cost}. What cannot be told from the ends' own share counts as RESOLUTION of that:
    no ratio is better than was measured."""
    alone = bursts["straight"].us_per_packet

    def added(name: str) -> float:
        return max(bursts[name].us_per_packet - alone, alone * RESOLUTION)

    return {
        profile: Cost(added(f"{profile} user"), added(f"{profile} kernel")) for profile in PROFILES
    }


def measure(
    machines: Machines, machine: Machine, rounds: int = 2, seconds: float = 1.0, calls: int = 10
) -> dict[str, Burst]:
    """{burst: Burst} in a machine whose RTPEngine forwards in the kernel.

    Bursts: straight, and for each profile `rtp kernel`, `rtp user` and so on, the cheapest of its
    rounds. Raises MachineError when one has gone by another path than its name says in all of them.
    """
    order = ends(machines) | relay(machines, machine)
    order |= {"rounds": rounds, "calls": calls, "seconds": seconds}
    found = watched(machine, "load.py", order)
    return cheapest({name: Burst(**counts) for name, counts in found.items()})


def measure_until(
    machines: Machines, machine: Machine, ratio: float, attempts: int
) -> dict[str, Burst]:
    """The cheapest bursts of several `measure`, until each profile has that ratio.

    A host that is busy with other work makes both paths dearer by the same, and the ratio smaller.
    Raises MachineError as `measure`, when the last attempt does.
    """
    best: dict[str, Burst] = {}
    for attempt in range(1, attempts + 1):
        try:
            found = measure(machines, machine)
        except MachineError:
            if attempt == attempts:
                raise
            continue
        best = {name: min(found[name], best.get(name, found[name]), key=_dear) for name in found}
        if all(cost.ratio >= ratio for cost in costs(best).values()):
            break
    return best


def _dear(burst: Burst) -> float:
    return burst.us_per_packet


def cheapest(rounds: dict[str, Burst]) -> dict[str, Burst]:
    """Of `straight 0`, `straight 1`, `rtp kernel 0` and so on, by name.

    What else the host does only makes a burst dearer, or loses its packets: then it does not count.
    """
    best: dict[str, Burst] = {}
    for numbered, burst in rounds.items():
        name = numbered.rpartition(" ")[0]
        if _is_whole(name, burst) and (name not in best or burst.cpu_s < best[name].cpu_s):
            best[name] = burst
    for numbered, burst in rounds.items():
        if numbered.rpartition(" ")[0] not in best:
            raise MachineError(f"{numbered}: {burst}")
    return best


def ends(machines: Machines) -> dict[str, Any]:
    """What the load is and where it comes from and goes to, as guest/load.py wants it."""
    own = machines.pillar["self"]["addresses"]
    return {"addresses": own, "paths": PATHS, "profiles": PROFILES, **machines.peers}


def relay(machines: Machines, machine: Machine) -> dict[str, Any]:
    """The RTPEngine that the states have set up, asked as the proxies ask it."""
    own, ports = machines.pillar["self"]["addresses"], machines.pillar["ports"]["rtpengine"]
    return {"ng": [own["internal"], ports["ng"]], "flags": ["strict-source"],
            "rule": _rule(machine)}  # fmt: skip


def watched(machine: Machine, script: str, order: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Run a script of guest/ that announces bursts: {burst: what it counted, and cpu_s}."""
    watch = _Watch(machine)
    with watch, machine.in_front():
        argv = [PYTHON, f"/opt/voip-test/{script}", json.dumps(order)]
        counts = json.loads(machine.run(*argv, timeout=LONG_S))
    return {name: found | {"cpu_s": watch.cpu_s(name)} for name, found in counts.items()}


def _rule(machine: Machine) -> list[str]:
    for line in machine.run("iptables", "-w", "-S", "INPUT").splitlines():
        if " -j RTPENGINE " in line:
            return line.split()[1:]
    raise MachineError("no rule hands packets to the module")


def _is_whole(name: str, burst: Burst) -> bool:
    path = name.rpartition(" ")[2]
    other = {"kernel": burst.user, "user": burst.kernel, "straight": burst.user + burst.kernel}
    return other[path] <= burst.sent * 0.02 and burst.received >= burst.sent * 0.98


class _Watch:
    """Reads qemu's CPU time when the console announces a burst's begin or end."""

    def __init__(self, machine: Machine):
        self.machine = machine
        self.times: dict[str, float] = {}
        self._console = machine.room / "console.log"
        self._offset = self._console.stat().st_size
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def cpu_s(self, name: str) -> float:
        return self.times[f"{name} ends"] - self.times[f"{name} begins"]

    def _follow(self) -> None:
        # A clock that is read late has other work in it.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 0)
        while not self._stop.is_set():
            with open(self._console, "rb") as file:
                file.seek(self._offset)
                text, end, _ = file.read().rpartition(b"\n")
            now = self.machine.cpu_s()
            self._offset += len(text + end)
            for line in text.decode(errors="replace").splitlines():
                if line.startswith("load: "):
                    self.times[line.removeprefix("load: ").strip()] = now
            time.sleep(POLL_S)
