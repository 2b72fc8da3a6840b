"""Ten calls always up: some are held all the time, others are short and replaced by new ones.

Each call is a real one (voip_stack/call): registered, encrypted, answered, its audio looked at
every few seconds. A short call ends only while more than ten are up.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from voip_stack.call.dialogue import CALLEE, CALLER, Dialogue
from voip_stack.call.failure import CallError
from voip_stack.call.plan import CALLEE_TONE_HZ, CALLER_TONE_HZ, Plan, make_plan
from voip_stack.call.remote import Remote, remote_argv
from voip_stack.call.run import Platform
from voip_stack.call.tones import has_tone
from voip_stack.call.useragent import Settings, StreamState
from voip_stack.pillar import Pillar
from voip_stack.problem import Problem

ALWAYS_UP = 10
# One more than that are made, so that one can end and another take its place.
HELD, SHORT = 6, 5
SHORT_S = 20.0
# Every so often the packets since the last time are counted, and the last seconds searched for the
# tone; again, where a busy machine held the user agents up for most of them.
LOOK_EVERY_S = 9.0
MIN_RECEIVED = 0.8
LISTEN_S, LISTENS = 2.0, 3
REGISTER_S = 60  # the shortest that the proxy grants: refreshed all the time
START_S = 90.0
PAUSE_S = 1.0
FAILURES_ENOUGH = 50
PORTS_FROM, PORTS_EACH = 20400, 20


@dataclass(frozen=True)
class Slot:
    """One of the calls that are up: made again when it has ended, or failed."""

    number: int
    caller: str
    callee: str
    is_held: bool


@dataclass(frozen=True)
class FailedCall:
    at: float
    caller: str
    callee: str
    is_held: bool
    reason: str

    def __str__(self) -> str:
        return f"failed call {self.caller} → {self.callee}: {self.reason}"


def slots(pillar: Pillar) -> list[Slot]:
    """Who calls whom.

    Only one call goes to each subscriber: a second would ring at the same device. The others are to
    the echo, and spread over the subscribers: each may have so many at once.
    """
    numbers = [item.number for item in pillar.subscribers]
    if len(numbers) < 3:
        raise Problem("A soak needs three subscribers", "pillar/subscribers/", "add some")
    pairs = {0: (numbers[0], numbers[1]), HELD: (numbers[0], numbers[2])}
    echo = pillar.routing.echo_extension
    return [
        Slot(index, *pairs.get(index, (numbers[index % 3], echo)), index < HELD)
        for index in range(HELD + SHORT)
    ]


class Load:
    """with Load(...) as load: ...; all calls are up once `await_full` has returned.

    plan: of any call; all of them go by its proxy.
    """

    def __init__(self, pillar: Pillar, platform: Platform, plan: Plan):
        self._pillar, self._platform, self._plan = pillar, platform, plan
        self._slots = slots(pillar)
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._is_full = False
        self.up = 0
        # The fewest since all were up, None before.
        self.lowest: int | None = None
        self.made = 0
        self.registrations = 0
        self.looks = 0
        self.failures: list[FailedCall] = []

    def __enter__(self) -> Load:
        numbers = sorted({item.number for item in self._pillar.subscribers})
        # Read once: a sealed Vault gives none.
        self._passwords = dict(self._platform.passwords(numbers))
        self._ca_pem = self._platform.ca_pem()
        for slot in self._slots:
            thread = threading.Thread(target=self._keep_up, args=(slot,), daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)

    def await_full(self) -> None:
        """Until every call is up; from then on the fewest are counted."""
        deadline = time.monotonic() + START_S
        while self.up < len(self._slots):
            if time.monotonic() > deadline or self.is_hopeless():
                why = self.failures[-1].reason if self.failures else "they are still being set up"
                raise Problem(
                    f"Only {self.up} of {len(self._slots)} calls came up: {why}",
                    "client-1",
                    "./voip call 1001 1002 tells more",
                )
            time.sleep(0.2)
        with self._lock:
            self._is_full, self.lowest = True, self.up

    def is_hopeless(self) -> bool:
        """So many calls failed that more tell nothing."""
        return len(self.failures) >= FAILURES_ENOUGH

    def _keep_up(self, slot: Slot) -> None:
        # Not all at the same moment: a machine with two cores starts user agents one by one.
        self._stop.wait(slot.number * 0.7)
        while not self._stop.is_set() and not self.is_hopeless():
            try:
                self._make(slot)
            except CallError as err:
                if not self._stop.is_set():
                    self._failed(slot, err)
                    self._stop.wait(PAUSE_S)

    def _failed(self, slot: Slot, err: CallError) -> None:
        code = f" (SIP {err.sip_code})" if err.sip_code else ""
        reason = ": ".join(part for part in (err.step, err.reason) if part) + code
        with self._lock:
            self.failures.append(
                FailedCall(time.time(), slot.caller, slot.callee, slot.is_held, reason)
            )

    def _make(self, slot: Slot) -> None:
        plan = make_plan(self._pillar, slot.caller, slot.callee, proxy=self._plan.daemon)
        parties = self._parties(slot, plan)
        argv = self._platform.command(self._plan.outside.name, remote_argv())
        with Remote(argv) as remote:
            dialogue = Dialogue(remote, parties)
            dialogue.open(self._ca_pem, plan.names)
            for ua in parties:
                dialogue.register(ua)
            dialogue.call(f"sip:{slot.callee}@{plan.domain}")
            dialogue.start_tones()
            for ua, party in parties.items():
                if dialogue.suite(ua) is None:
                    raise CallError("", f"the media of {party.number} is not encrypted")
            self._change(1)
            try:
                self._talk(slot, dialogue)
            except CallError:
                self._change(-1)
                raise
            if self._stop.is_set():
                return
            dialogue.hang_up()
        with self._lock:
            self.made += 1

    def _parties(self, slot: Slot, plan: Plan) -> dict[str, Settings]:
        sides = {CALLER: (slot.caller, CALLER_TONE_HZ)}
        if not plan.is_echo:
            sides[CALLEE] = (slot.callee, CALLEE_TONE_HZ)
        ports = PORTS_FROM + slot.number * 2 * PORTS_EACH
        return {
            ua: Settings.of(
                plan,
                number,
                self._passwords[number],
                tone_hz=tone,
                address=self._plan.outside_address,
                rtp_ports=(ports + index * PORTS_EACH, ports + (index + 1) * PORTS_EACH - 2),
                # A second device of a number would ring for it: who only calls does not register.
                register_s=0 if plan.is_echo else REGISTER_S,
            )
            for index, (ua, (number, tone)) in enumerate(sides.items())
        }

    def _change(self, by: int) -> None:
        with self._lock:
            self._count(by)

    def _may_end(self) -> bool:
        """Take one call off the count, when enough others are up."""
        with self._lock:
            if self.up <= ALWAYS_UP:
                return False
            self._count(-1)
            return True

    def _count(self, by: int) -> None:
        """Called with the lock held."""
        self.up += by
        if self._is_full and not self._stop.is_set() and self.lowest is not None:
            self.lowest = min(self.lowest, self.up)

    def _talk(self, slot: Slot, dialogue: Dialogue) -> None:
        """Until the call is to end: it goes on, and each side hears the other.

        A call that may end has been taken off the count when this returns.
        """
        began = looked = time.monotonic()
        before = dialogue.states()
        registered = 0
        while not self._stop.is_set():
            dialogue.hold(1.0)
            now = time.monotonic()
            if now - looked >= LOOK_EVERY_S:
                before = look(dialogue, before)
                looked = time.monotonic()
                again = _registered(dialogue)
                with self._lock:
                    self.looks += 1
                    self.registrations += again - registered
                registered = again
            if not slot.is_held and now - began >= SHORT_S and self._may_end():
                return


def _registered(dialogue: Dialogue) -> int:
    """How often the parties have registered. CallError when they were refused once."""
    for ua, party in dialogue.parties.items():
        for refused in dialogue.remote.seen(ua, "REGISTER_FAIL"):
            raise CallError("registration", f"{party.number}: {refused.text}")
    return sum(len(dialogue.remote.seen(ua, "REGISTER_OK")) for ua in dialogue.parties)


def look(dialogue: Dialogue, before: Mapping[str, StreamState]) -> dict[str, StreamState]:
    """The counters now. CallError unless each party heard the other side since `before`."""
    after = dialogue.states()
    for ua, party in dialogue.parties.items():
        speaker = _speaker(dialogue, ua)
        # What it sent, not what the time asks for: a busy machine holds up user agents too.
        sent = (after[speaker].sent or 0) - (before[speaker].sent or 0)
        received = (after[ua].received or 0) - (before[ua].received or 0)
        if received < MIN_RECEIVED * sent:
            raise CallError("audio", f"{party.number} got {received} of {sent} packets")
    for ua in dialogue.parties:
        _listen(dialogue, ua)
    return after


def _listen(dialogue: Dialogue, ua: str) -> None:
    """CallError unless this party hears the other side's tone."""
    party = dialogue.parties[ua]
    tone = dialogue.parties[_speaker(dialogue, ua)].tone_hz
    for _ in range(LISTENS):
        if has_tone(dialogue.hears(ua, LISTEN_S), party.sample_rate, tone):
            return
        dialogue.hold(LISTEN_S)
    raise CallError("audio", f"{party.number} does not hear the other side's {tone} Hz")


def _speaker(dialogue: Dialogue, listener: str) -> str:
    """Whom `listener` hears: itself, of an echo."""
    return CALLEE if listener == CALLER and CALLEE in dialogue.parties else CALLER
