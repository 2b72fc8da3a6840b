"""One soak from the trial's begin to its end: load and observers up, time passes, the verdict."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from voip_stack import paths, providers
from voip_stack.call.deployed import deployed
from voip_stack.call.exclusive import one_at_a_time
from voip_stack.call.plan import make_plan
from voip_stack.certificates.renew import held
from voip_stack.deployment import write_atomic
from voip_stack.pillar import Pillar, load
from voip_stack.pillar.trial import Trial
from voip_stack.problem import Problem
from voip_stack.providers.base import Provider
from voip_stack.soak import daemons, sealing, trials
from voip_stack.soak import report as reports
from voip_stack.soak.calls import Load, slots
from voip_stack.soak.handshakes import Handshakes
from voip_stack.soak.report import Calls, Report, Sealed, Watched
from voip_stack.steps import Step, Steps, elapsed

LIFE_S = 180
# Sealed: certificates fall due soon after the seal, and outlive it by enough to be caught up with.
DUE_S = 30
SPARE_S = 300
# What the rest of a run takes at most: setting up, catching up, taking back.
MARGIN_S = 900
RECORDS_KEPT = 30


@dataclass
class Soak:
    """What the kinds of a soak share while one runs."""

    pillar: Pillar
    provider: Provider
    steps: Steps
    report: Report
    watch: Handshakes
    load: Load
    told: Counter[str] = field(default_factory=Counter)

    def pass_time(self, title: str, seconds: float, is_over: Callable[[], bool]) -> None:
        """Let it all go on for so long, or until `is_over`. A Ctrl-C ends this and what follows
        early: the report says so. Problem when an observer has died."""
        with self.steps.step(title) as step:
            end = time.monotonic() + seconds
            try:
                while (left := end - time.monotonic()) > 0 and not is_over():
                    if self._is_pointless():
                        break
                    self._tell(step, left)
                    time.sleep(min(1.0, left))
            except KeyboardInterrupt:
                self.report.is_interrupted = True
            step.done(self._line())

    def _is_pointless(self) -> bool:
        if dead := self.watch.dead():
            raise Problem(
                f"The handshakes on {', '.join(dead)} ended", "", f"./voip logs {dead[0]}"
            )
        return self.load.is_hopeless() or self.report.is_interrupted

    def _tell(self, step: Step, left: float) -> None:
        """How it stands; what has failed is said at once: a run may be ended early."""
        step.say(f"{elapsed(left)} left; {self._line()}")
        failed = [*map(str, self.load.failures), *map(str, self.watch.failures)]
        for line in (Counter(failed) - self.told).elements():
            step.note(line)
        self.told = Counter(failed)

    def _line(self) -> str:
        seen = self.watch.seen().values()
        renewed = [len(shown) - 1 for listeners in seen for shown in listeners.values()]
        times = f"{min(renewed, default=0)} to {max(renewed, default=0)}"
        return (
            f"{self.load.up} calls up, {self.load.made} replaced, {len(self.load.failures)} failed;"
            f" {sum(self.watch.done.values())} handshakes, {self.watch.failed} failed;"
            f" renewed {times} times"
        )


def run(kind: str, minutes: float) -> Report:
    """kind: a key of KINDS. Returns the report, which is kept in the state directory as well.

    Certificates, Vault and pillar are as before when this returns or raises.
    """
    pillar = load(paths.pillar_dir())
    provider = providers.deployed(pillar)
    with Steps(f"soak-{kind}") as steps, one_at_a_time(steps.line):
        recover(pillar, steps)
        try:
            report = KINDS[kind](pillar, provider, steps, minutes)
        finally:
            recover(pillar, steps)
        keep(report.kind, report.as_dict())
    return report


def recover(pillar: Pillar, steps: Steps) -> None:
    """Put right what a run has changed, this one or one that was killed."""
    try:
        if sealing.unseal():
            steps.line("    the Vault is unsealed again")
    finally:
        if trials.lift():
            with steps.step("Give the certificates their ordinary life") as step:
                trials.finish(pillar, step)


def certificates(pillar: Pillar, provider: Provider, steps: Steps, minutes: float) -> Report:
    """Certificates of LIFE_S, renewed all the time under calls and handshakes."""
    report = _report("certificates", minutes, LIFE_S)
    trial = Trial(certificate_ttl_s=LIFE_S, began=time.time())
    with steps.step(f"Give every certificate a life of {LIFE_S} s") as step:
        trials.begin(pillar, provider, trial, step)
    with _busy(pillar, provider, steps, report) as soak:
        soak.pass_time(f"Soak for {minutes:g} min", minutes * 60, lambda: False)
        report.certificates = reports.certificates(
            soak.watch.seen(), held(pillar), reports.needed(minutes, LIFE_S)
        )
    return report


def sealed(pillar: Pillar, provider: Provider, steps: Steps, minutes: float) -> Report:
    """The Vault is sealed while every certificate falls due, then unsealed."""
    seconds = minutes * 60
    life_s = round(seconds + max(SPARE_S, seconds / 2))
    report = _report("sealed", minutes, life_s)
    trial = Trial(
        certificate_ttl_s=life_s, renew_fraction=due_after(pillar, life_s), began=time.time()
    )
    with _busy(pillar, provider, steps, report) as soak:
        with steps.step(f"Give every certificate a life of {life_s} s") as step:
            trials.begin(pillar, provider, trial, step)
        made, began = soak.load.made, time.monotonic()
        sealing.seal(pillar, seconds + MARGIN_S)
        soak.pass_time(f"The Vault is sealed for {minutes:g} min", seconds, lambda: False)
        stayed = sealing.is_sealed(pillar)
        sealing.unseal()
        unsealed = time.time()
        report.sealed = Sealed(
            round(time.monotonic() - began, 1), soak.load.made - made, stayed
        )  # fmt: skip

        def have() -> list[reports.Certificate]:
            return reports.certificates(soak.watch.seen(), held(pillar), 1, unsealed)

        soak.pass_time(
            "Renewal catches up",
            max(0.0, life_s - (time.time() - trial.began)),
            lambda: all(item.caught_up_s is not None for item in have()),
        )
        report.certificates = have()
    return report


KINDS = {"certificates": certificates, "sealed": sealed}


def due_after(pillar: Pillar, life_s: int) -> float:
    """The renew_fraction by which a certificate of `life_s` is due DUE_S after it was signed."""
    backdate_s = pillar.pki.backdate_s
    return round(1 - (DUE_S + backdate_s) / (life_s + backdate_s), 4)


@contextmanager
def _busy(pillar: Pillar, provider: Provider, steps: Steps, report: Report) -> Iterator[Soak]:
    """Calls up and handshakes under way; at the block's end their counts are in the report."""
    numbers = [item.number for item in pillar.subscribers]
    platform, plan = deployed(make_plan(pillar, numbers[0], numbers[1]))
    units = daemons.units(pillar)
    before = daemons.look(provider, units)
    limit_s = report.minutes * 60 + MARGIN_S
    with Handshakes(pillar, provider, limit_s) as watch, Load(pillar, platform, plan) as load:
        with steps.step(f"Bring up {len(slots(pillar))} calls") as step:
            load.await_full()
            step.done(f"{load.up} up")
        yield Soak(pillar, provider, steps, report, watch, load)
        report.calls = Calls.of(load)
        report.handshakes = Watched(
            watch.listeners(), sum(watch.done.values()), watch.failed, list(watch.failures)
        )
    report.daemons = len(before)
    report.restarted = daemons.changed(before, daemons.look(provider, units))


def _report(kind: str, minutes: float, life_s: int) -> Report:
    return Report(kind, minutes, time.strftime("%Y-%m-%dT%H:%M:%S%z"), life_s)


def keep(kind: str, data: dict[str, Any]) -> None:
    """Keep a soak's report in the state directory, and of the older ones RECORDS_KEPT."""
    directory = paths.state_dir() / "soak"
    directory.mkdir(exist_ok=True)
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{kind}.json"
    write_atomic(directory / name, json.dumps(data, indent=1) + "\n")
    for old in sorted(directory.glob("*.json"))[:-RECORDS_KEPT]:
        old.unlink()
