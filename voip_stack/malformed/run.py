"""The attacks from the lab's outside guest, with calls meanwhile, and the verdict."""

from __future__ import annotations

import base64
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import cycle
from pathlib import Path
from typing import Any

from voip_stack import bans, paths, providers
from voip_stack.call.deployed import deployed
from voip_stack.call.exclusive import one_at_a_time
from voip_stack.call.plan import Plan, make_plan
from voip_stack.call.report import CallReport
from voip_stack.call.run import Options, run_call
from voip_stack.malformed import memory, torture
from voip_stack.malformed.report import MEASURED, Report
from voip_stack.malformed.wire import Target
from voip_stack.master import client
from voip_stack.pillar import Pillar, load
from voip_stack.problem import Problem
from voip_stack.providers.base import Provider
from voip_stack.soak import daemons
from voip_stack.soak.run import keep
from voip_stack.steps import Steps

SOURCES = 150
SLOW = 50
SEED = 4475
# Before memory is measured the first time: so many mutations, so that what only the first ones take
# has been taken. A tenth of the run, and no fewer than these.
WARM_UP = 3000
CALL_S = 2.0
LIMIT_S = 1500.0
# In the guest: the package's files that run there.
DIRECTORY = "/run/voip-malformed"
FILES = ("__init__.py", "attacker.py", "mutation.py", "wire.py")
COUNTERS = (
    "rcv_requests", "rcv_replies", "bad_URIs_rcvd", "bad_msg_hdr", "unsupported_methods",
    "malformed_refused", "oversized_refused", "relay_denied", "auth_failed", "banned_dropped",
    "bans",
)  # fmt: skip


def run(messages: int, logins: int) -> Report:
    """So many mutations and bad logins, and everything else once. Lab only.

    The report is kept in the state directory too. Afterwards the outside guest has its own address
    alone, and none of the others is shut out.
    """
    pillar = load(paths.pillar_dir())
    provider = providers.deployed(pillar)
    if provider.name != "lab":
        raise Problem("Attacks are for the lab", provider.name, "./voip up --provider lab", 3)
    plan = make_plan(pillar, *_numbers(pillar))
    report = Report(messages, logins, SOURCES)
    with Steps("soak-malformed") as steps, one_at_a_time(steps.line):
        attack = _Attack(pillar, provider, plan, steps)
        with attack.ready():
            attack.warm_up(report)
            attack.begin(report)
            attack.measure(report)
        keep("malformed", report.as_dict())
    return report


class _Attack:
    """One run: what its steps share."""

    def __init__(self, pillar: Pillar, provider: Provider, plan: Plan, steps: Steps):
        self.pillar, self.provider, self.plan, self.steps = pillar, provider, plan, steps
        self.sources = sources(pillar, SOURCES)
        self.units = daemons.units(pillar)

    @contextmanager
    def ready(self) -> Iterator[None]:
        """The outside guest has the addresses and the program; afterwards neither."""
        with self.steps.step(f"Give {self.plan.outside.name} {SOURCES} more addresses"):
            for name in FILES:
                content = Path(__file__).with_name(name).read_bytes()
                self._run("mkdir", "-p", f"{DIRECTORY}/malformed")
                self.provider.put(self.plan.outside.name, f"{DIRECTORY}/malformed/{name}", content)
            self._addresses("replace")
        try:
            yield
        finally:
            self._forgive()
            self._addresses("del")
            self._run("rm", "-rf", DIRECTORY)

    def _run(self, *argv: str, stdin: bytes | None = None) -> None:
        self.provider.run(self.plan.outside.name, list(argv), stdin=stdin)

    def _addresses(self, verb: str) -> None:
        external = self.pillar.networks["external"]
        length = external.cidr.prefixlen
        lines = [
            f"address {verb} {address}/{length} dev {external.interface}"
            for address in self.sources
        ]
        self._run("ip", "-force", "-batch", "-", stdin="\n".join(lines).encode())

    def _forgive(self) -> int:
        """Let the sources in again; how many were shut out."""
        rows = [row for row in bans.listed(self.pillar) if row["source"] in self.sources]
        if rows:
            bans.lift(self.pillar, [row["source"] for row in rows])
        return len(rows)

    def warm_up(self, report: Report) -> None:
        proxy = self.plan.proxy.name
        with self.steps.step("Warm up") as step:
            order = self._order(max(WARM_UP, report.messages // 10), report.logins // 10, SEED + 1)
            self._attack(order | {"slow_wait": False})
            self._forgive()
            report.before = memory.settled(self.provider, proxy)
            step.done(f"{report.before.resident_kib // 1024} MiB resident")

    def begin(self, report: Report) -> None:
        title = f"Attack: {report.messages} mutations, {report.logins} bad logins"
        known = daemons.look(self.provider, self.units)
        counted = self._counters()
        stop = threading.Event()
        with self.steps.step(title) as step:
            calling = threading.Thread(target=self._call, args=(stop, report.calls), daemon=True)
            calling.start()
            began = time.monotonic()
            try:
                report.attacks = self._attack(self._order(report.messages, report.logins, SEED))
            finally:
                report.seconds = round(time.monotonic() - began, 1)
                stop.set()
                calling.join(60)
            now = self._counters()
            report.parsed = {name: now[name] - counted[name] for name in COUNTERS}
            report.restarted = daemons.changed(known, daemons.look(self.provider, self.units))
            report.banned = self._forgive()
            step.done(f"{len(report.calls)} calls meanwhile")

    def measure(self, report: Report) -> None:
        with self.steps.step("Measure what is left") as step:
            report.after = memory.settled(self.provider, self.plan.proxy.name, report.before)
            step.done(f"{report.after.resident_kib // 1024} MiB resident")

    def _order(self, messages: int, logins: int, seed: int) -> dict[str, Any]:
        ports = self.pillar.services["kamailio"]
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
            "slow": SLOW,
            "slow_wait": True,
            "torture": [
                [item.name, base64.b64encode(item.data).decode()] for item in torture.messages()
            ],
        }

    def _attack(self, order: dict[str, Any]) -> dict[str, Any]:
        script = f"cd {DIRECTORY} && exec python3 -m malformed.attacker"
        argv = self.provider.command(self.plan.outside.name, ["sh", "-c", script])
        done = subprocess.run(
            argv,
            input=json.dumps(order).encode(),
            capture_output=True,
            timeout=LIMIT_S,
            check=False,
        )
        if done.returncode:
            last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
            raise Problem(f"The attacker ended: {' '.join(last)}", self.plan.outside.name)
        return dict(json.loads(done.stdout))

    def _counters(self) -> dict[str, int]:
        host = self.plan.proxy.name
        core = client.call(host, "kamailio.counters", "core")
        return dict(core | client.call(host, "kamailio.counters"))

    def _call(self, stop: threading.Event, made: list[dict[str, Any]]) -> None:
        """Verified calls, one after the other, until told to stop."""
        numbers = _numbers(self.pillar)
        echo = self.pillar.routing.echo_extension
        for caller, callee in cycle([(numbers[0], numbers[1]), (numbers[1], echo)]):
            platform, plan = deployed(make_plan(self.pillar, caller, callee))
            found = run_call(plan, platform, Options(duration_s=CALL_S))
            step, reason = ("", "") if found.ok else _failure(found)
            made.append(
                {"from": caller, "to": callee, "ok": found.ok, "step": step, "reason": reason}
            )
            if stop.is_set():
                return


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


def _failure(report: CallReport) -> tuple[str, str]:
    """The step that failed, and why."""
    if report.failure is None:
        return MEASURED[-1], "not every leg or tone is there"
    return report.failure.step, report.failure.reason


def _numbers(pillar: Pillar) -> list[str]:
    """Two subscribers who call meanwhile."""
    return [item.number for item in pillar.subscribers][:2]
