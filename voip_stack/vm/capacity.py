"""How many SRTP streams a relay carries: ours and one with upstream's defaults, in one machine.

What a stream costs is qemu's CPU time, less what sending and receiving cost by themselves at the
same level. Loss and jitter are the machine's own, so other work on the host adds to them: those of
the packets that nobody forwards stand beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from voip_stack.vm.cost import ends, relay, watched
from voip_stack.vm.lab import Machines
from voip_stack.vm.machine import Machine, MachineError

RELAYS = ("ours", "upstream")
# A level is carried while no more than this part of its packets is lost.
MOST_LOST = 0.01
# A table, a control port and RTP ports beside those of ours; the ports are upstream's default.
UPSTREAM_TABLE = 1
UPSTREAM_NG = ("127.0.0.1", 2224)
UPSTREAM_PORTS = "30000:40000"


@dataclass(frozen=True)
class Level:
    """streams: at once; lost: a fraction; jitter_ms: mean of the streams (RFC 3550, 6.4.1).

    cpu_ms: CPU for one stream in one second, without what its ends cost; 0 when nobody forwards.
    """

    streams: int
    lost: float
    jitter_ms: float
    cpu_ms: float

    @property
    def is_carried(self) -> bool:
        return self.lost <= MOST_LOST


def measure(
    machines: Machines, machine: Machine, rounds: int, levels: Sequence[int], seconds: float
) -> dict[str, list[Level]]:
    """{"straight": levels, "<relay> <path>": levels}, each the least disturbed of its rounds.

    levels: calls at once, rising. Raises MachineError when packets went by another path than they
    should.
    """
    order = ends(machines) | {
        "relays": {"ours": relay(machines, machine), "upstream": _upstream(machines, machine)},
        "levels": list(levels), "seconds": seconds, "most_lost": MOST_LOST,
    }  # fmt: skip
    bursts = least_disturbed([watched(machine, "levels.py", order) for _ in range(rounds)])
    found: dict[str, list[Level]] = {}
    for calls in levels:
        alone = bursts[f"straight {calls}"]["cpu_s"]
        for name, burst in bursts.items():
            who, _, count = name.rpartition(" ")
            if int(count) == calls:
                _check(name, who, burst)
                found.setdefault(who, []).append(_level(burst, calls, seconds, alone))
    return found


def least_disturbed(rounds: Sequence[dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Of bursts by name: the cheapest one that was carried, else the one that lost least.

    What else the host does makes a burst dearer and loses its packets, never the other way round.
    """
    names = dict.fromkeys(name for bursts in rounds for name in bursts)
    return {
        name: min((bursts[name] for bursts in rounds if name in bursts), key=_disturbance)
        for name in names
    }


def _disturbance(burst: dict[str, Any]) -> tuple[float, float]:
    lost = _lost(burst)
    return (lost if lost > MOST_LOST else 0, burst["cpu_s"])


def _lost(burst: dict[str, Any]) -> float:
    return (burst["sent"] - burst["received"]) / burst["sent"]


def _level(burst: dict[str, Any], calls: int, seconds: float, alone_s: float) -> Level:
    streams = 2 * calls
    cost = (burst["cpu_s"] - alone_s) / streams / seconds * 1000
    return Level(
        streams,
        lost=_lost(burst),
        jitter_ms=burst["jitter_ms"],
        cpu_ms=cost,
    )


def _check(name: str, who: str, burst: dict[str, Any]) -> None:
    other = {"kernel": "user", "user": "kernel"}.get(who.rpartition(" ")[2])
    if other and burst[other] > burst["sent"] * 0.02:
        raise MachineError(f"{name} went by {other}: {burst}")


def _upstream(machines: Machines, machine: Machine) -> dict[str, Any]:
    """Start RTPEngine as it comes, with only what it does not run without: addresses, a table.

    It is asked as Kamailio's module asks by itself, without a flag.
    """
    own = machines.pillar["self"]["addresses"]
    interfaces = [f"--interface={name}/{address}" for name, address in own.items()]
    address, port = UPSTREAM_NG
    machine.run(
        "systemd-run", "--unit=upstream", "rtpengine", "--foreground", *interfaces,
        f"--listen-ng={address}:{port}", f"--table={UPSTREAM_TABLE}",
        "--config-file=none",
    )  # fmt: skip
    rule = ["INPUT", "-p", "udp", "--dport", UPSTREAM_PORTS, "-j", "RTPENGINE", "--id",
            str(UPSTREAM_TABLE)]  # fmt: skip
    machine.run("iptables", "-w", "-I", *rule)
    return {"ng": [address, port], "flags": [], "rule": rule}
