"""`bench renewal`: from the event to the new certificate in every listener's handshake.

A certificate that is due at once takes the place of the one in use; its host tells the master by
the event of the beacon, and the master's own record says how long it took. Each component alone,
then all of them in the same moment.
"""

from __future__ import annotations

import datetime
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import typer

from voip_stack import deployment, paths
from voip_stack.bench.report import Result
from voip_stack.certificates import renew
from voip_stack.events import record
from voip_stack.master import client
from voip_stack.pillar import Pillar, compile_for, load
from voip_stack.problem import Problem

ROUNDS = 5
GOAL_S = 3.0
# A renewal that takes longer is not awaited: the certificate has ended by then.
LIMIT_S = 60.0
# Of the certificate that is due; its life begins before it is signed, so that this is enough.
LIFE_S = 20
Pair = tuple[str, str]


@dataclass(frozen=True)
class Taken:
    """seconds: from the event to the proof. proof_s: of them, from the daemon's reload."""

    seconds: float
    proof_s: float


def run(rounds: int, service: str | None = None) -> list[Result]:
    """Median and slowest round of each component; then of all at once, the slowest of each."""
    pillar = load(paths.pillar_dir())
    pairs = [pair for pair in renew.held(pillar) if service in (None, pair[1])]
    if not pairs:
        known = ", ".join(sorted({name for _, name in renew.held(pillar)}))
        raise Problem(f"No certificate is of {service}", "bench renewal", f"one of {known}", 2)
    numbers: list[Result] = []
    for pair in pairs:
        taken = [_round(pillar, [pair], number)[pair] for number in range(rounds)]
        numbers += _results(" ".join(pair), taken)
    if len(pairs) > 1:
        together = [_round(pillar, pairs, number) for number in range(rounds)]
        slowest = [max(found.values(), key=lambda item: item.seconds) for found in together]
        numbers += _results(f"all {len(pairs)} at once, the last of them", slowest, goal=None)
    return numbers


def _results(what: str, taken: list[Taken], goal: float | None = GOAL_S) -> list[Result]:
    seconds = [item.seconds for item in taken]
    proofs = statistics.median(item.proof_s for item in taken)
    return [
        Result(f"{what}, median", statistics.median(seconds), "s", goal),
        Result(f"{what}, slowest", max(seconds), "s", goal),
        Result(f"{what}, of it from reload to proof", proofs, "s"),
    ]


def _round(pillar: Pillar, pairs: Sequence[Pair], number: int) -> dict[Pair, Taken]:
    """Have each of `pairs` due, tell the master of all at once, and wait for its record."""
    due = max(_make_due(pillar, *pair) for pair in pairs)
    time.sleep(max(0.0, due - time.time()))
    before = {pair: _shown(*pair) for pair in pairs}
    began = time.time()
    with ThreadPoolExecutor(len(pairs)) as pool:
        list(pool.map(lambda pair: client.call(pair[0], "voip_renewal.tell", pair[1]), pairs))
    found = _recorded(pairs, due)
    for pair, item in found.items():
        if _shown(*pair) == before[pair] and item["time"] >= began:
            raise Problem(f"{' '.join(pair)} shows the certificate of before", renew.RECORD)
        typer.echo(f"{' '.join(pair)}, round {number + 1}: {item['seconds']} s", err=True)
    return {pair: Taken(item["seconds"], item["proof_s"]) for pair, item in found.items()}


def _make_due(pillar: Pillar, host: str, name: str) -> float:
    """Put a certificate in use that is due soon; returns when, epoch."""
    wanted = compile_for(pillar, host, deployment.read())["certificates"][name]
    # The host refuses one that is due from its beginning: to it, this one is not.
    short = wanted | {"ttl_s": LIFE_S, "renew_fraction": 0.01}
    made = client.call(host, "voip_pki.renew", name, short, timeout_s=60)
    end = datetime.datetime.fromisoformat(made["not_after"]).timestamp()
    return end - made["life_s"] * wanted["renew_fraction"]


def _shown(host: str, name: str) -> Any:
    return client.call(host, "voip_tls.shown", name)


def _recorded(pairs: Sequence[Pair], since: float) -> dict[Pair, dict[str, Any]]:
    """The record of each renewal by an event. Problem when one is not there in time."""
    deadline = time.monotonic() + LIMIT_S
    while True:
        entries = [item for item in record.read(renew.RECORD, since) if item["by"] == renew.BEACON]
        found = {(item["host"], item["name"]): item for item in entries}
        done = {pair: item for pair, item in found.items() if item["outcome"] == "renewed"}
        if set(pairs) <= set(done):
            return {pair: done[pair] for pair in pairs}
        if time.monotonic() > deadline:
            late = ", ".join(" ".join(pair) for pair in pairs if pair not in done)
            why = "; ".join(item["why"] for item in found.values() if item["outcome"] == "failed")
            raise Problem(f"Not renewed within {LIMIT_S:.0f} s: {late}. {why}".strip(),
                          str(record.file(renew.RECORD)), "./voip incidents")  # fmt: skip
        time.sleep(0.1)
