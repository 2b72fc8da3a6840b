"""`bench registrations`: every subscriber registers at once at one proxy, over few TLS connections;
then many connections; then the proxy is restarted.

The subscribers are a file in pillar/subscribers/, taken away again at the end with their contacts.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass

from voip_stack import outside, paths, providers, vault
from voip_stack.bench import agents, devices, pressed
from voip_stack.bench.many import FIRST, declared
from voip_stack.bench.report import Result
from voip_stack.call.exclusive import one_at_a_time
from voip_stack.malformed import memory
from voip_stack.malformed.memory import Memory
from voip_stack.master import client
from voip_stack.outside import Conversation
from voip_stack.pillar import Pillar, load
from voip_stack.problem import Problem
from voip_stack.providers.base import Provider
from voip_stack.soak import standing
from voip_stack.steps import Steps

ROUNDS = 1
CONTACTS = 100_000
# Of a connection at first; of a connection when all are there.
MANY_EACH, FEW_EACH = 1000, 20
SOURCES = 150
# The time that the rate allows, and so much more: those of one second do not come evenly.
SPARE = 1.1
# What a machine may take that proxy, database and devices share, in times of that.
PATIENCE = 5
START_S = 120.0
# Of each proxy: its table of contacts, and what its counters call their number.
LOCATIONS = {
    "kamailio": ("location", "location_contacts"),
    "opensips": ("location_opensips", "location_opensips-contacts"),
}
FAILED_SHOWN = 10


def run(rounds: int, contacts: int = CONTACTS, proxy: str = "kamailio") -> list[Result]:
    """contacts: subscribers, one contact each, at `proxy`. Lab only. A second round would say
    nothing new."""
    if proxy not in LOCATIONS:
        raise Problem(f"There is no proxy {proxy}", "", f"one of {', '.join(LOCATIONS)}", code=2)
    pillar = load(paths.pillar_dir())
    provider = providers.deployed(pillar)
    if provider.name != "lab":
        raise Problem("A storm is for the lab", provider.name, "./voip up --provider lab", 3)
    host = pressed.host_of(pillar, proxy)
    with (
        Steps("bench-registrations") as steps,
        one_at_a_time(steps.line),
        declared(pillar, host, contacts),
    ):
        bench = _Bench(pillar, provider, host, proxy, contacts, steps)
        with steps.step(f"Add {contacts} subscribers"):
            pressed.state_apply(host)
        try:
            return bench.measured()
        finally:
            with steps.step("Forget their contacts"):
                bench.forget()


@dataclass
class _Bench:
    pillar: Pillar
    provider: Provider
    host: str
    proxy: str
    contacts: int
    steps: Steps

    def measured(self) -> list[Result]:
        with self._devices() as crowd:
            before = memory.look(self.provider, self.host, self.proxy)
            found = self._storm(crowd, before)
            found += self._connections(crowd)
            found += self._restarted()
        return found

    # ------------------------------------------------------------------ the devices

    @property
    def _links(self) -> int:
        return max(1, self.contacts // MANY_EACH)

    @property
    def _all_links(self) -> int:
        return max(self._links, self.contacts // FEW_EACH)

    def _devices(self) -> AbstractContextManager[Conversation]:
        numbers = [str(FIRST + index) for index in range(self.contacts)]
        passwords = vault.subscriber_passwords(numbers)
        return devices.running(
            self.pillar,
            self.provider,
            self.host,
            proxy=self.proxy,
            sources=outside.sources(self.pillar, SOURCES),
            users=[[number, passwords[number]] for number in numbers],
            links=self._links,
            limit_s=self._allowed_s() * PATIENCE,
        )

    # ------------------------------------------------------------------ a storm

    def _allowed_s(self) -> float:
        """For all to be registered by the rates that pillar sets, of all and of a source."""
        rates = self.pillar.routing.registrations
        each = -(-self.contacts // min(self._links, SOURCES))
        longest = max(self.contacts / rates.per_second, each / rates.per_source)
        return longest * SPARE + rates.spread_s

    def _storm(self, crowd: Conversation, before: Memory) -> list[Result]:
        counted = self._counted("script", "registrations_shed")
        title = f"{self.contacts} contacts at once over {self._links} connections"
        with self.steps.step(title) as step, standing.calls(self.pillar, self.proxy) as calls:
            found = crowd.ask("register")
            step.done(f"{found['registered']} registered")
        unheard = [call for call in calls if call["step"] == standing.AUDIO]
        failed = [call for call in calls if not call["ok"] and call not in unheard]
        for call in failed[:FAILED_SHOWN]:
            self.steps.line(f"    a call failed: {call['step']}: {call['reason']}")
        shed = self._counted("script", "registrations_shed") - counted
        after = memory.look(self.provider, self.host, self.proxy)
        allowed = self._allowed_s()
        return [
            Result("contacts that registered at once", self.contacts, ""),
            Result("  registered", found["registered"], "", self.contacts, at_least=True),
            Result("  over TLS connections", self._links, ""),
            Result("  over within", found["seconds"], "s", round(allowed, 1)),
            Result("  per second", found["registered"] / max(found["seconds"], 0.01), "/s"),
            Result("  answered 503", found["shed"], ""),
            Result("  answered 503 by the proxy's own count", shed, ""),
            Result("  without Retry-After", found["untold"], "", 0),
            Result("  longest Retry-After", found["longest_wait_s"], "s"),
            Result("  without an answer", found["unanswered"], "", 0),
            Result("  whose connection was lost", found["lost"], "", 0),
            Result("  most requests of one contact", found["most_requests"], ""),
            Result("  calls meanwhile", len(calls), "", 1, at_least=True),
            Result("  calls that failed", len(failed), "", 0),
            Result("  calls whose audio this machine was too busy for", len(unheard), ""),
            Result("  shared memory of a contact", _kib_each(before, after, self.contacts), "KiB"),
        ]

    # ------------------------------------------------------------------ connections

    def _connections(self, crowd: Conversation) -> list[Result]:
        before = memory.look(self.provider, self.host, self.proxy)
        more = self._all_links - self._links
        with self.steps.step(f"{self._all_links} TLS connections") as step:
            found = crowd.ask(f"connect {more}")
            step.done(f"{found['answered']} answer")
        after = memory.look(self.provider, self.host, self.proxy)
        limit = self.pillar.hosts[self.host].memory_mib
        pool = client.call(self.host, f"{self.proxy}.pool_size")
        return [
            Result("TLS connections at once", found["connections"], ""),
            Result("  that answer", found["answered"], "", self._all_links, at_least=True),
            Result("  opened within", found["seconds"], "s"),
            Result("  shared memory of a connection", _kib_each(before, after, more), "KiB"),
            Result("  shared memory in use", after.pool_kib / 1024, "MiB"),
            Result("  of", pool / 2**20, "MiB"),
            Result("  the proxy's memory in all", after.mib, "MiB", limit),
        ]

    # ------------------------------------------------------------------ a restart

    def _restarted(self) -> list[Result]:
        before = self._registered()
        with self.steps.step("Restart the proxy") as step:
            began = time.monotonic()
            self.provider.run(self.host, ["systemctl", "restart", self.proxy], timeout=START_S)
            after = self._contacts_again(before)
            seconds = time.monotonic() - began
            step.done(f"{after} contacts")
        return [
            Result("contacts before a restart", before, ""),
            Result("  after it", after, "", before, at_least=True),
            Result("  all of them again after", seconds, "s"),
        ]

    def _contacts_again(self, wanted: int) -> int:
        """How many it has: at the deadline, or once it has so many. It answers before that."""
        deadline = time.monotonic() + START_S
        found = 0
        while found < wanted and time.monotonic() < deadline:
            time.sleep(0.1)
            with suppress(Problem):
                found = self._registered()
        return found

    def _registered(self) -> int:
        return self._counted("usrloc", LOCATIONS[self.proxy][1])

    def _counted(self, group: str, name: str) -> int:
        return int(client.call(self.host, f"{self.proxy}.counters", group)[name])

    def forget(self) -> None:
        """The contacts go with the proxy's memory of them: one by one takes a minute."""
        database = pressed.host_of(self.pillar, "postgresql")
        table = LOCATIONS[self.proxy][0]
        statement = f"DELETE FROM {table} WHERE user_agent = '{agents.AGENT}'"  # noqa: S608
        argv = ["runuser", "-u", "postgres", "--", "psql", "-XqtAc", statement, "kamailio"]
        self.provider.run(self.host, ["systemctl", "stop", self.proxy], timeout=START_S)
        try:
            self.provider.run(database, argv, timeout=START_S)
        finally:
            self.provider.run(self.host, ["systemctl", "start", self.proxy], timeout=START_S)


def _kib_each(before: Memory, after: Memory, count: int) -> float:
    return (after.pool_kib - before.pool_kib) / max(1, count)
