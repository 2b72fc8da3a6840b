"""The attacks from the lab's outside guest, with calls meanwhile, and the verdict."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import Any

from voip_stack import bans, outside, paths, providers
from voip_stack.call.deployed import deployed
from voip_stack.call.exclusive import one_at_a_time
from voip_stack.call.plan import Plan, make_plan
from voip_stack.malformed import memory, torture
from voip_stack.malformed.attacker import guessers
from voip_stack.malformed.report import Report
from voip_stack.malformed.wire import Target
from voip_stack.master import client
from voip_stack.pillar import Pillar, load
from voip_stack.problem import Problem
from voip_stack.providers.base import Provider
from voip_stack.soak import daemons
from voip_stack.soak.calls import Load, slots
from voip_stack.soak.report import Calls
from voip_stack.soak.run import keep
from voip_stack.steps import Steps

SOURCES = 150
SLOW = 50
SEED = 4475
# Of the time between two logins: the calls' user agents register as well.
SPARE = 1.2
# Before memory is measured the first time: as many mutations as later, no fewer than these. What
# a daemon that has just started takes once it has then taken: of a leak it takes as much again.
WARM_UP = 3000
# What an attack takes at most, by its mutations: the attacker gives way to everybody else.
LIMIT_S, LIMIT_EACH_S = 600.0, 0.05
# In the guest: what runs there.
DIRECTORY = "/run/voip-malformed"
MODULES = ("malformed.attacker", "malformed.mutation", "malformed.wire")
# By the proxy's own count, as far as it keeps one.
COUNTERS = (
    "rcv_requests", "rcv_replies", "bad_URIs_rcvd", "bad_msg_hdr", "unsupported_methods",
    "malformed_refused", "oversized_refused", "relay_denied", "auth_failed", "banned_dropped",
    "bans",
)  # fmt: skip


def run(messages: int, logins: int, proxy: str) -> Report:
    """So many mutations and bad logins, and everything else once, against a proxy. Lab only.

    proxy: the component, by which the calls go as well. The report is kept in the state directory
    too. Afterwards the outside guest has its own address alone, and none of the others is shut out.
    """
    pillar = load(paths.pillar_dir())
    provider = providers.deployed(pillar)
    if provider.name != "lab":
        raise Problem("Attacks are for the lab", provider.name, "./voip up --provider lab", 3)
    first, second = slots(pillar)[0].caller, slots(pillar)[0].callee
    platform, plan = deployed(make_plan(pillar, first, second, proxy=proxy))
    report = Report(proxy, messages, logins, SOURCES)
    with Steps("soak-malformed") as steps, one_at_a_time(steps.line):
        attack = _Attack(pillar, provider, plan, steps)
        # Memory is measured with the calls up, before and after.
        with attack.ready(), Load(pillar, platform, plan) as calls:
            with steps.step(f"Bring up {len(slots(pillar))} calls"):
                calls.await_full()
            attack.warm_up(report)
            attack.begin(report)
            attack.measure(report)
            report.calls = Calls.of(calls)
        keep("malformed", report.as_dict())
    return report


class _Attack:
    """One run: what its steps share."""

    def __init__(self, pillar: Pillar, provider: Provider, plan: Plan, steps: Steps):
        self.pillar, self.provider, self.plan, self.steps = pillar, provider, plan, steps
        self.sources = outside.sources(pillar, SOURCES)
        self.units = daemons.units(pillar)

    @contextmanager
    def ready(self) -> Iterator[None]:
        """The outside guest has the addresses and the program; afterwards neither."""
        guest = self.plan.outside.name
        with ExitStack() as stack:
            with self.steps.step(f"Give {guest} {SOURCES} more addresses"):
                self._program = stack.enter_context(
                    outside.program(self.provider, guest, DIRECTORY, MODULES)
                )
                stack.enter_context(
                    outside.addresses(self.pillar, self.provider, guest, self.sources)
                )
            stack.callback(self._forgive)
            yield

    def _forgive(self) -> int:
        """Let the sources in again; how many were shut out."""
        rows = [row for row in bans.listed(self.pillar) if row["source"] in self.sources]
        if rows:
            bans.lift(self.pillar, [row["source"] for row in rows])
        return len(rows)

    def warm_up(self, report: Report) -> None:
        with self.steps.step("Warm up") as step:
            messages = max(WARM_UP, report.messages)
            order = self._order(messages, report.logins // 10, SEED + 1)
            self._attack(order | {"slow_wait": False})
            self._forgive()
            report.before = self._settled()
            step.done(f"{report.before.resident_kib // 1024} MiB resident")

    def _settled(self, before: memory.Memory | None = None) -> memory.Memory:
        return memory.settled(self.provider, self.plan.proxy.name, self.plan.daemon, before)

    def begin(self, report: Report) -> None:
        title = f"Attack: {report.messages} mutations, {report.logins} bad logins"
        running = daemons.look(self.provider, self.units)
        counted = self._counters()
        with self.steps.step(title) as step:
            began = time.monotonic()
            try:
                report.attacks = self._attack(self._order(report.messages, report.logins, SEED))
            finally:
                report.seconds = round(time.monotonic() - began, 1)
            now = self._counters()
            known = [name for name in COUNTERS if name in now]
            report.parsed = {name: now[name] - counted[name] for name in known}
            report.restarted = daemons.changed(running, daemons.look(self.provider, self.units))
            report.banned = self._forgive()
            step.done(f"{report.banned} sources shut out")

    def measure(self, report: Report) -> None:
        with self.steps.step("Measure what is left") as step:
            report.after = self._settled(report.before)
            step.done(f"{report.after.resident_kib // 1024} MiB resident")

    def _order(self, messages: int, logins: int, seed: int) -> dict[str, Any]:
        ports = self.pillar.services[self.plan.daemon]
        target = Target(
            address=str(self.plan.proxy.external),
            ports={"tls": ports["sip-tls"].ports[0], "wss": ports["wss"].ports[0]},
            server_name=self.plan.proxy_name,
            domain=self.plan.domain,
            ca=paths.ca_file().read_text(),
        )
        return {
            "target": asdict(target),
            "sources": self.sources,
            "seed": seed,
            "messages": messages,
            "logins": logins,
            "login_every_s": self._login_every_s(logins),
            "slow": SLOW,
            "slow_wait": True,
            "torture": [
                [item.name, base64.b64encode(item.data).decode()] for item in torture.messages()
            ],
        }

    def _login_every_s(self, logins: int) -> float:
        """A login is two REGISTERs: neither a source's nor those of all reach the proxy's rates."""
        rates = self.pillar.routing.registrations
        guessing = len(guessers(self.sources, logins))
        return SPARE * 2 * max(1 / rates.per_source, guessing / rates.per_second)

    def _attack(self, order: dict[str, Any]) -> dict[str, Any]:
        limit_s = LIMIT_S + order["messages"] * LIMIT_EACH_S
        argv = self.provider.command(self.plan.outside.name, self._program)
        try:
            done = subprocess.run(
                argv,
                input=json.dumps(order).encode(),
                capture_output=True,
                timeout=limit_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            what = f"The attacker was not through within {limit_s:.0f} s"
            raise Problem(what, self.plan.outside.name) from error
        if done.returncode:
            last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
            raise Problem(f"The attacker ended: {' '.join(last)}", self.plan.outside.name)
        return dict(json.loads(done.stdout))

    def _counters(self) -> dict[str, int]:
        host = self.plan.proxy.name
        groups = ("core", "script")
        core, script = (client.call(host, f"{self.plan.daemon}.counters", name) for name in groups)
        return dict(core | script)
