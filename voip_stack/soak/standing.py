"""Calls one after the other while something else goes on, by user agents that stay registered.

Who is there already calls and is called: what a storm of registrations has to leave alone. Of calls
whose devices register first, see voip_stack/call/meanwhile.py.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import cycle
from typing import Any

from voip_stack.call import meanwhile
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

# The step at which a call that was set up, and kept up, was not heard: as meanwhile.MEASURED.
AUDIO = "audio"


@contextmanager
def calls(pillar: Pillar) -> Iterator[list[dict[str, Any]]]:
    """As `meanwhile.calls`; everybody is registered once the block begins. Problem where not."""
    first, second = meanwhile.numbers(pillar)
    made: list[dict[str, Any]] = []
    stop = threading.Event()
    with ExitStack() as stack:
        pairs = []
        for index, callee in enumerate((second, pillar.routing.echo_extension)):
            platform, plan = deployed(make_plan(pillar, first, callee))
            argv = platform.command(plan.outside.name, remote_argv())
            remote = stack.enter_context(Remote(argv))
            pairs.append((plan, _ready(plan, platform, remote, 2 * index)))
        calling = threading.Thread(target=_make, args=(pairs, stop, made), daemon=True)
        calling.start()
        try:
            yield made
        finally:
            stop.set()
            calling.join(meanwhile.END_S)


def _ready(plan: Plan, platform: Platform, remote: Remote, first_ports: int) -> Dialogue:
    """Its user agents. Who only calls does not register: a number's second device would ring."""
    sides = {CALLER: (plan.caller, CALLER_TONE_HZ, {"register_s": 0})}
    if not plan.is_echo:
        sides[CALLEE] = (plan.callee, CALLEE_TONE_HZ, {})
    passwords = platform.passwords([number for number, _, _ in sides.values()])
    parties = {}
    for index, (ua, (number, tone_hz, more)) in enumerate(sides.items(), first_ports):
        ports = PORTS_FROM + index * PORTS_EACH
        own = (ports, ports + PORTS_EACH - 2)
        parties[ua] = Settings.of(
            plan, number, passwords[number], tone_hz=tone_hz, rtp_ports=own, **more
        )
    dialogue = Dialogue(remote, parties)
    try:
        dialogue.open(platform.ca_pem(), plan.names)
        for ua in parties:
            dialogue.register(ua)
    except CallError as error:
        raise Problem(f"{plan.caller} → {plan.callee}: {error.reason}", "client-1") from error
    return dialogue


def _make(
    pairs: Sequence[tuple[Plan, Dialogue]], stop: threading.Event, made: list[dict[str, Any]]
) -> None:
    for plan, dialogue in cycle(pairs):
        step = reason = ""
        try:
            _call(plan, dialogue)
        except CallError as error:
            step, reason = error.step or "call", error.reason
            with suppress(CallError):  # it may have ended by itself
                dialogue.hang_up()
        made.append(
            {"from": plan.caller, "to": plan.callee, "ok": not step, "step": step, "reason": reason}
        )
        if stop.is_set():
            return


def _call(plan: Plan, dialogue: Dialogue) -> None:
    """Set up, encrypted, heard by both sides, ended. CallError where not, with its step."""
    dialogue.call(f"sip:{plan.callee}@{plan.domain}")
    dialogue.start_tones()
    before = dialogue.states()
    dialogue.hold(meanwhile.CALL_S)
    unheard = None
    try:
        look(dialogue, before)
    except CallError as error:
        unheard = error
    dialogue.stop_tones()
    dialogue.hang_up()
    if unheard is not None:
        raise unheard
