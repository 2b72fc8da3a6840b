"""`bench salt`: a master of its own with many simulated minions."""

from __future__ import annotations

import statistics
from typing import Any

import typer

from voip_stack.bench import fleet
from voip_stack.bench.report import Result

ROUNDS = 3
MINIONS = 500
EVENTS = 4  # of each kind, by each minion


def run(rounds: int, minions: int = MINIONS) -> list[Result]:
    """minions: how many are simulated. rounds: of `test.ping` to all."""
    typer.echo(f"bench salt: a master with {minions} simulated minions", err=True)
    found = fleet.measure(minions, EVENTS, rounds)
    silent = minions * rounds - sum(found["answered"])
    numbers = [
        Result(f"{minions} minions: connected in", found["connect_s"], "s"),
        Result(
            f"{minions} minions: salt '*' test.ping, median",
            statistics.median(found["ping_s"]),
            "s",
        ),
        Result(f"{minions} minions: answers missing", silent, "answers", 0),
    ]
    for kind, title in (("plain", "on the bus"), ("signed", "verified and acted upon")):
        numbers += _events(f"{minions} minions: events {title}", found[kind])
    memory = found["memory_mib"]
    return [
        *numbers,
        Result(f"{minions} minions: memory of the master", memory["master"], "MiB"),
        Result(f"{minions} minions: memory of all of them", memory["minions"], "MiB"),
    ]


def _events(title: str, counted: dict[str, Any]) -> list[Result]:
    rate = counted["handled"] / counted["seconds"] if counted["seconds"] else 0.0
    lost = counted["sent"] - counted["handled"]
    return [
        Result(title, rate, "events/s"),
        Result(f"{title}: lost of {counted['sent']}", lost, "events", 0),
    ]
