"""Calls one after the other while something else goes on, by user agents that stay registered.

Who is there already calls and is called: what a storm of registrations has to leave alone.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import cycle
from typing import Any

from voip_stack.call.deployed import deployed
from voip_stack.call.dialogue import CALLEE, CALLER, Dialogue
from voip_stack.call.failure import CallError
from voip_stack.call.plan import CALLEE_TONE_HZ, CALLER_TONE_HZ, Plan, make_plan
from voip_stack.call.remote import Remote, remote_argv
from voip_stack.call.run import Platform
from voip_stack.call.useragent import Settings
from voip_stack.pillar import Pillar
from voip_stack.problem import Problem
from voip_stack.soak.calls import PORTS_EACH, PORTS_FROM, look

CALL_S = 2.0
# For the last one to end.
END_S = 60.0
# The step at which a call that was set up, and kept up, was not heard. A machine that proxies, user
# agents and a load share may starve a user agent.
AUDIO = "audio"


@contextmanager
def calls(pillar: Pillar, proxy: str = "kamailio") -> Iterator[list[dict[str, Any]]]:
    """Calls are made while the block lasts: [{from, to, ok, step, reason}], whole at its end.

    proxy: the component by which they go. Everybody is registered once the block begins. Problem
    where not.
    """
    first, second = [item.number for item in pillar.subscribers][:2]
    made: list[dict[str, Any]] = []
    stop = threading.Event()
    with ExitStack() as stack:
        pairs = []
        for index, callee in enumerate((second, pillar.routing.echo_extension)):
            pair = _Pair(*deployed(make_plan(pillar, first, callee, proxy=proxy)), 2 * index)
            stack.callback(pair.close)
            try:
                pair.open()
            except CallError as error:
                what = f"{first} → {callee}: {error.reason}"
                raise Problem(what, pair.plan.outside.name) from error
            pairs.append(pair)
        calling = threading.Thread(target=_make, args=(pairs, stop, made), daemon=True)
        calling.start()
        try:
            yield made
        finally:
            stop.set()
            calling.join(END_S)


def _make(pairs: Sequence[_Pair], stop: threading.Event, made: list[dict[str, Any]]) -> None:
    for pair in cycle(pairs):
        step = reason = ""
        try:
            pair.call()
        except CallError as error:
            step, reason = error.step or "call", error.reason
        told = {"from": pair.plan.caller, "to": pair.plan.callee, "step": step, "reason": reason}
        made.append(told | {"ok": not step})
        if stop.is_set():
            return


class _Pair:
    """The user agents of a call, for one call after the other."""

    def __init__(self, platform: Platform, plan: Plan, first_ports: int):
        """first_ports: how many ranges of ports others have."""
        self.plan = plan
        self._platform = platform
        self._parties = self._settings(first_ports)
        self._open = ExitStack()
        self._dialogue: Dialogue | None = None

    def _settings(self, first_ports: int) -> dict[str, Settings]:
        """Who only calls does not register: a number's second device would ring."""
        sides: dict[str, tuple[str, int, dict[str, int]]] = {
            CALLER: (self.plan.caller, CALLER_TONE_HZ, {"register_s": 0})
        }
        if not self.plan.is_echo:
            sides[CALLEE] = (self.plan.callee, CALLEE_TONE_HZ, {})
        passwords = self._platform.passwords([number for number, _, _ in sides.values()])
        found = {}
        for index, (ua, (number, tone_hz, more)) in enumerate(sides.items(), first_ports):
            ports = PORTS_FROM + index * PORTS_EACH
            own = (ports, ports + PORTS_EACH - 2)
            found[ua] = Settings.of(
                self.plan, number, passwords[number], tone_hz=tone_hz, rtp_ports=own, **more
            )
        return found

    def open(self) -> Dialogue:
        """Start and register them, unless they are. CallError when that fails."""
        if self._dialogue is None:
            argv = self._platform.command(self.plan.outside.name, remote_argv())
            dialogue = Dialogue(self._open.enter_context(Remote(argv)), self._parties)
            dialogue.open(self._platform.ca_pem(), self.plan.names)
            for ua in self._parties:
                dialogue.register(ua)
            self._dialogue = dialogue
        return self._dialogue

    def close(self) -> None:
        self._dialogue = None
        self._open.close()

    def call(self) -> None:
        """Set up, encrypted, heard by both sides, ended. CallError where not, with its step.

        User agents that failed once are not believed again: the next call has others.
        """
        try:
            unheard = self._called(self.open())
        except CallError:
            self.close()
            raise
        if unheard is not None:
            raise unheard

    def _called(self, dialogue: Dialogue) -> CallError | None:
        dialogue.call(f"sip:{self.plan.callee}@{self.plan.domain}")
        dialogue.start_tones()
        before, unheard = dialogue.states(), None
        dialogue.hold(CALL_S)
        try:
            look(dialogue, before)
        except CallError as error:
            if error.step != AUDIO:
                raise
            unheard = error
        dialogue.stop_tones()
        dialogue.hang_up()
        return unheard
