"""What `bench sip` measures, and in which order.

A round: devices register, as many calls are made as can be, calls are made at half that rate; each
of it by the platform and right afterwards by the vendor's configuration, in the next round the
other way round. Everything runs on one machine, the load too, and a machine is not the same for
long: rates are this machine's and ratios are what counts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer

from voip_stack import deployment, paths, providers, vault
from voip_stack.bench import pressed
from voip_stack.bench.many import FIRST, declared
from voip_stack.bench.report import Result
from voip_stack.bench.sip import picture, scenarios, stock
from voip_stack.bench.sip.figures import (
    CALL,
    OURS,
    PACED,
    REGISTER,
    REPEAT,
    STOCK,
    TOGETHER,
    Load,
    results,
)
from voip_stack.call.exclusive import one_at_a_time
from voip_stack.pillar import Pillar, compile_for, load, trial
from voip_stack.problem import Problem
from voip_stack.providers.base import Provider
from voip_stack.repair import hosts, state
from voip_stack.soak import trials

ROUNDS = 3
SECONDS, WARM_S = 10, 2
DIRECTORY = "/run/voip-bench-sip"
# They register over and over; half of them are called.
NUMBER = 400
# Nobody makes more calls in a minute than a subscriber may.
CALLING = 400
# Each registers once in a few seconds, and says something else each time. The stock configuration,
# which keeps changes back a minute, is to write them meanwhile, and what it has written is told.
MANY, WRITE_BACK_S = 8000, 1
# Until each has registered once.
MANY_SECONDS, MANY_WARM_S = 26, 14
# Processes of sipp: connections, since each has one.
DEVICES, CALLERS, CALLEES = 4, 2, 2
# More than can be done: what is open at once is the limit, by process.
FLOOD = 4000
OPEN_REGISTRATIONS, OPEN_CALLS = 25, 40
HOLD_MS, PACED_HOLD_MS = 500, 2000
# How often calls are measured in a round: a few hundred of them are not many.
TURNS = 2
AT_ONCE = 300
# Of one address in the proxies' window, and in a second: a few addresses stand for many devices.
REQUESTS, REGISTRATIONS = 1_000_000, 100_000
MAINTENANCE_S = 1800
WRITES = "select n_tup_ins + n_tup_upd from pg_stat_user_tables where relname = 'location'"
COMPONENTS = ("kamailio", "pgbouncer", "asterisk", "rtpengine", "postgresql")
TLS, UDP = "TLS", "UDP"
PROGRAMS = ("load.py", "tunnel.py")


def run(rounds: int, plot: Path | None = None) -> list[Result]:
    """plot: where a picture of it goes, as SVG."""
    pillar = load(paths.pillar_dir())
    provider = providers.deployed(pillar)
    if provider.name != "lab":
        raise Problem("Load is for the lab", provider.name, "./voip up --provider lab", 3)
    with one_at_a_time(_tell), Bench(pillar, provider).ready() as bench:
        loads = [one for number in range(rounds) for one in bench.round(number)]
        loads.append(bench.together(loads))
    if plot is not None:
        picture.write(plot, loads)
    return results(loads)


class Bench:
    """One run: what its loads share."""

    def __init__(self, pillar: Pillar, provider: Provider):
        self.pillar, self.provider = pillar, provider
        self.proxy, self.pbx = (
            pressed.host_of(pillar, "kamailio"),
            pressed.host_of(pillar, "asterisk"),
        )
        self.outside = next(name for name, host in pillar.hosts.items() if not host.is_minion)
        self.units = {
            (host, component): hosts.unit(host, component)
            for host in pillar.minions()
            for component in pillar.components_of(host)
            if component in COMPONENTS
        }
        self.voip = compile_for(pillar, self.proxy, deployment.read())

    @contextlib.contextmanager
    def ready(self) -> Iterator[Bench]:
        """Subscribers, the trial of other limits and sipp's files are there; afterwards none."""
        source = self.pillar.hosts[self.outside].external
        over = trial.Trial(
            load=trial.Load(
                requests=REQUESTS,
                registrations=REGISTRATIONS,
                trunks=[source],  # type: ignore[list-item]
            ),
            began=time.time(),
        )
        trials.end(self.pillar, _tell)
        state.maintain(self.proxy, MAINTENANCE_S, "voip bench sip")
        try:
            with declared(self.pillar, self.proxy, MANY):
                _tell(f"{MANY} subscribers; a trial: {trials.words(over)}")
                pressed.state_apply(self.pbx)
                trials.begin(load(paths.pillar_dir()), self.provider, over, _tell)
                self._equip()
                yield self
        finally:
            self.provider.run(self.outside, ["rm", "-rf", DIRECTORY])
            trials.end(self.pillar, _tell)
            pressed.state_apply(self.pbx)
            state.end_maintenance(self.proxy)

    def _equip(self) -> None:
        """What sipp reads, in the outside guest."""
        domain = self.pillar.site.domain
        known = vault.subscriber_passwords([str(FIRST + index) for index in range(MANY)])
        # sipp takes what begins with 0x for a key in hexadecimal digits, and not for a password.
        numbers = sorted(number for number, password in known.items() if password[:2] != "0x")
        half = NUMBER // 2
        lines = [scenarios.user(number, known[number]) for number in numbers]
        pairs = [
            scenarios.user(caller, known[caller], numbers[index % half])
            for index, caller in enumerate(numbers[half : half + CALLING])
        ]
        files = {
            "register.xml": scenarios.register(domain),
            "register-anew.xml": scenarios.register_anew(domain),
            "callee.xml": scenarios.callee(domain),
            "answer.xml": scenarios.answer(),
            "call.xml": scenarios.call(domain, challenged=True),
            "trunk.xml": scenarios.call(domain, challenged=False),
            "ca.crt": paths.ca_file().read_text(),
            **_shared("many", lines, DEVICES),
            **_shared("devices", lines[:NUMBER], DEVICES),
            **_shared("callers", pairs, CALLERS),
            **_shared("callees", lines[:half], CALLEES),
        }
        self.provider.run(self.outside, ["install", "-d", "-m", "700", DIRECTORY])
        for name, text in files.items():
            self.provider.put(self.outside, f"{DIRECTORY}/{name}", text.encode(), mode=0o600)
        for name in PROGRAMS:
            content = Path(__file__).with_name(name).read_bytes()
            self.provider.put(self.outside, f"{DIRECTORY}/{name}", content)

    def round(self, number: int) -> Iterator[Load]:
        """Everything by both."""
        _tell(f"round {number + 1}")
        yield from self._by_both(self._registered, number, WRITE_BACK_S)
        yield from self._by_both(self._repeated, number)
        for turn in range(TURNS):
            yield from self._by_both(self._called, number * TURNS + turn)
        yield from self._by_both(self._in_the_clear, number)

    def _by_both(
        self,
        loads: Callable[[str, int], Iterator[Load]],
        number: int,
        write_back_s: int | None = None,
    ) -> Iterator[Load]:
        """One after the other; who is first changes with each time."""
        for who in (OURS, STOCK) if number % 2 == 0 else (STOCK, OURS):
            with contextlib.ExitStack() as stack:
                if who == STOCK:
                    called = f"^{str(FIRST)[0]}[0-9]{{{len(str(FIRST)) - 1}}}$"
                    stack.enter_context(
                        stock.serving(self.provider, self.proxy, self.voip, called, write_back_s)
                    )
                yield from loads(who, number)

    def _registered(self, who: str, number: int) -> Iterator[Load]:
        yield self._registrations(who, TLS, number)

    def _repeated(self, who: str, number: int) -> Iterator[Load]:
        yield self._registrations(who, TLS, number, REPEAT)

    def _called(self, who: str, number: int) -> Iterator[Load]:
        """As many as can be, then half as many."""
        most = self._calls(who, TLS, CALL, number)
        yield most
        yield self._calls(who, TLS, PACED, number, most.rate / 2)

    def _in_the_clear(self, who: str, number: int) -> Iterator[Load]:
        """The platform lets nobody register in the clear: a trunk calls."""
        if who == STOCK:
            yield self._registrations(who, UDP, number, REPEAT)
        yield self._calls(who, UDP, CALL, number)

    def together(self, loads: list[Load]) -> Load:
        """So many calls up in the same moment, begun at half the greatest rate."""
        paced = [one.rate for one in loads if (one.who, one.what) == (OURS, PACED)]
        rate = max(1.0, sum(paced) / len(paced))
        return self._calls(OURS, TLS, TOGETHER, 0, rate, AT_ONCE)

    def _registrations(self, who: str, way: str, number: int, what: str = REGISTER) -> Load:
        order = self._order(way) | {
            "scenario": "register",
            "users": _names("devices", DEVICES),
            "rate": FLOOD,
            "limit": OPEN_REGISTRATIONS,
            "hold_ms": 0,
        }
        if what == REGISTER:
            order |= {"scenario": "register-anew", "users": _names("many", DEVICES)}
            order |= {"seconds": MANY_SECONDS, "warm_s": MANY_WARM_S}
        before = self._rows()
        one = self._load(who, way, what, number, order)
        return dataclasses.replace(one, written=self._rows() - before)

    def _rows(self) -> int:
        """Writes of locations that the database has counted, which it tells a second later."""
        time.sleep(1)
        host = pressed.host_of(self.pillar, "postgresql")
        argv = ["runuser", "-u", "postgres", "--", "psql", "-XtAc", WRITES]
        return int(
            self.provider.run(host, [*argv, self.voip["kamailio"]["database"]["name"]]).stdout
        )

    def _calls(
        self, who: str, way: str, what: str, number: int, rate: float = FLOOD, at_once: int = 0
    ) -> Load:
        """rate: calls a second. at_once: keep them until so many are up."""
        is_trunk = way == UDP and who == OURS
        callees = TLS if who == OURS else way
        seconds = at_once / rate + 2 if at_once else SECONDS
        hold_ms = round(1000 * seconds) if at_once else PACED_HOLD_MS
        order = self._order(way) | {
            "scenario": "trunk" if is_trunk else "call",
            "users": _names("callers", CALLERS),
            "rate": max(1, round(rate / CALLERS)),
            "limit": (at_once or NUMBER) // CALLERS if what != CALL else OPEN_CALLS,
            "hold_ms": HOLD_MS if what == CALL else hold_ms,
            "seconds": seconds,
            "callees": {
                "way": callees,
                "proxy": self._proxy(callees),
                "users": [[name, NUMBER // 2 // CALLEES] for name in _names("callees", CALLEES)],
            },
        }
        return self._load(who, way, what, number, order)

    def _proxy(self, way: str) -> dict[str, Any]:
        listeners = self.pillar.services["kamailio"]
        return {
            "address": str(self.pillar.hosts[self.proxy].external),
            "port": listeners["sip-tls" if way == TLS else "sip-udp"].ports[0],
            "server_name": self.pillar.site.proxy_name,
        }

    def _order(self, way: str) -> dict[str, Any]:
        return {
            "directory": DIRECTORY,
            "source": str(self.pillar.hosts[self.outside].external),
            "proxy": self._proxy(way),
            "way": way,
            "seconds": SECONDS,
            "warm_s": WARM_S,
            "callees": None,
        }

    def _load(self, who: str, way: str, what: str, number: int, order: dict[str, Any]) -> Load:
        before = self._spent()
        found = self._measure(order)
        after = self._spent()
        cpu_s = {
            f"{host} {name}": after[host, name] - before[host, name] for host, name in self.units
        }
        cpu_s[f"{self.outside} sipp"] = found["cpu_s"]
        done = max(1, found["done"])
        one = Load(
            who, way, what, number, found["rate"], found["done"], found["failed"], found["open"],
            {name: 1000 * seconds / done for name, seconds in cpu_s.items()}, found["delays_ms"],
        )  # fmt: skip
        _tell(f"{who}, {way}: {what}: {one.rate:.1f}/s, {one.failed} failed")
        if not one.done:
            said = " ".join(found["said"])[:800]
            raise Problem(f"None of the {what} by {who} over {way} succeeded: {said}", self.outside)
        return one

    def _measure(self, order: dict[str, Any]) -> dict[str, Any]:
        argv = ["python3", f"{DIRECTORY}/load.py"]
        limit_s = order["seconds"] + order["hold_ms"] / 1000 + 90
        text = json.dumps(order).encode()
        done = self.provider.run(self.outside, argv, stdin=text, timeout=limit_s)
        return dict(json.loads(done.stdout))

    def _spent(self) -> dict[tuple[str, str], float]:
        """Seconds of CPU that each daemon's unit has taken so far, by systemd's accounting."""
        found = {}
        for host in {host for host, _ in self.units}:
            named = {name: unit for (where, name), unit in self.units.items() if where == host}
            argv = ["systemctl", "show", "--value", "-p", "CPUUsageNSec", *named.values()]
            values = self.provider.run(host, argv).stdout.decode().split()
            for name, value in zip(named, values, strict=True):
                found[host, name] = int(value) / 1e9
        return found


def _names(what: str, processes: int) -> list[str]:
    return [f"{what}-{index}.csv" for index in range(processes)]


def _shared(what: str, lines: list[str], processes: int) -> dict[str, str]:
    """{file: users}, one a process; sipp takes its lines one after the other, over and over."""
    return {
        name: "SEQUENTIAL\n" + "\n".join(lines[index::processes]) + "\n"
        for index, name in enumerate(_names(what, processes))
    }


def _tell(text: str) -> None:
    typer.echo(f"bench sip: {text}", err=True)
