"""Many calls at once, each to the echo: what a caller said has gone both ways through the relay."""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from voip_stack import vault
from voip_stack.call import tones
from voip_stack.call.dialogue import CALLER, Dialogue
from voip_stack.call.plan import CALLER_TONE_HZ, make_plan
from voip_stack.call.remote import Remote, remote_argv
from voip_stack.call.useragent import Settings
from voip_stack.cli.hosts import pillar, provider_of
from voip_stack.paths import ca_file

# Beside those of the call tester and of tests/lab/phones.py.
PORTS_FROM, PORTS_EACH = 21000, 20
TOGETHER = 4  # user agents that are started at once
# Between two calls: the proxies ban an address that floods them (policy `pike`).
PACE_S = 0.5
TAIL_S, EDGE_S = 1.5, 0.3


@dataclass
class Call:
    """One call that is up. call_id: as the relay knows it."""

    number: str
    dialogue: Dialogue
    call_id: str
    began: float

    def hang_up(self) -> Heard:
        """End it, and tell what its caller heard."""
        lasted = time.monotonic() - self.began
        self.dialogue.hang_up()
        samples, rate = tones.read_wav(self.dialogue.recording(CALLER))
        report = tones.judge(samples, rate, tone_hz=CALLER_TONE_HZ, expected_s=lasted, echo_hz=None)
        # What came after the BYE is no longer the call.
        end = int((lasted - EDGE_S) * rate)
        tail = samples[max(0, end - int(TAIL_S * rate)) : end]
        return Heard(
            self.call_id,
            lasted,
            len(samples) / rate,
            report.longest_gap_ms / 1000,
            tones.has_tone(tail, rate, CALLER_TONE_HZ),
        )


@dataclass(frozen=True)
class Heard:
    """recorded_s: of lasted_s. gap_s: the longest silence. at_the_end: when it ended."""

    call_id: str
    lasted_s: float
    recorded_s: float
    gap_s: float
    at_the_end: bool


@contextlib.contextmanager
def calls(count: int, first: int = 0, *, by_ipv6: bool = False):
    """Yield `count` calls that are up and heard. first: where its ports begin, in calls."""
    model = pillar()
    numbers = [item.number for item in model.subscribers]
    passwords = dict(vault.subscriber_passwords(numbers))
    began = time.monotonic()
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(TOGETHER) as pool:

        def make(index: int) -> Call:
            number = numbers[index % len(numbers)]
            family = [number] if by_ipv6 else []
            plan = make_plan(model, number, model.routing.echo_extension, by_ipv6=family)
            ports = PORTS_FROM + (first + index) * PORTS_EACH
            settings = Settings.of(
                plan,
                number,
                passwords[number],
                tone_hz=CALLER_TONE_HZ,
                rtp_ports=(ports, ports + PORTS_EACH - 2),
            )
            time.sleep(max(0.0, began + index * PACE_S - time.monotonic()))
            remote = stack.enter_context(
                Remote(provider_of().command(plan.outside.name, remote_argv()))
            )
            dialogue = Dialogue(remote, {CALLER: settings})
            dialogue.open(ca_file().read_text(), plan.names)
            dialogue.register(CALLER)
            setup = dialogue.call(f"sip:{plan.callee}@{plan.domain}")
            up = time.monotonic()
            dialogue.start_tones()
            return Call(number, dialogue, setup.call_id_a, up)

        yield list(pool.map(make, range(count)))


def hang_up(found: list[Call]) -> list[Heard]:
    """End all of them; what each caller heard."""
    began = time.monotonic()

    def end(index: int) -> Heard:
        time.sleep(max(0.0, began + index * PACE_S / 4 - time.monotonic()))
        return found[index].hang_up()

    with ThreadPoolExecutor(TOGETHER) as pool:
        return list(pool.map(end, range(len(found))))
