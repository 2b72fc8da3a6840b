"""One verified call: from the passwords to the verdict, step by step."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from voip_stack.call import evidence, tones
from voip_stack.call import plan as plans
from voip_stack.call.browser import Browser
from voip_stack.call.chromium import Inside
from voip_stack.call.dialogue import CALLEE, CALLER, Dialogue
from voip_stack.call.failure import CallError, UnsettledError
from voip_stack.call.legs import Leg, Party, build_legs, channel_of
from voip_stack.call.plan import Plan
from voip_stack.call.remote import Remote, remote_argv
from voip_stack.call.report import CallReport
from voip_stack.call.useragent import Settings, StreamState
from voip_stack.problem import Problem

Progress = Callable[[str], None]
# A machine that is too busy to play the tone makes no measurement.
MIN_SENT = 0.9
SETTLE_DEADLINE_S = 3.0


@dataclass(frozen=True)
class Options:
    """How the call is made.

    duration_s: for how long the tones sound. wrong_password, callee_offline, callee_busy make the
    call fail on purpose. keep: a directory for the recordings.
    """

    duration_s: float = 4.0
    wrong_password: bool = False
    callee_offline: bool = False
    callee_busy: bool = False
    keep: Path | None = None


@dataclass(frozen=True)
class Platform:
    """What a call needs of the platform: its root certificate, passwords, guests and minions.

    passwords: numbers -> {number: password}. command: host, argv -> the command line that runs
    argv in that host with its standard input and output attached. inside: the command that runs
    argv of this machine in the network of the outside. ask: see evidence.Ask.
    """

    ca_pem: Callable[[], str]
    passwords: Callable[[Sequence[str]], Mapping[str, str]]
    command: Callable[[str, Sequence[str]], Sequence[str]]
    inside: Inside
    ask: evidence.Ask


def run_call(
    plan: Plan, platform: Platform, options: Options, progress: Progress = lambda _: None
) -> CallReport:
    """Make one call and verify it. A call that fails is a report too; Ctrl-C cleans up first."""
    report = CallReport(plan.caller, plan.callee, plan.codec, plan.is_echo, sorted(plan.browsers))
    started = time.monotonic()
    try:
        _make(plan, platform, options, _Steps(report, progress), report)
    except CallError as err:
        report.failure = err
    report.elapsed_s = round(time.monotonic() - started, 2)
    return report


class _Steps:
    """Names and times the steps; an error inside one carries that step's name."""

    def __init__(self, report: CallReport, progress: Progress):
        self.report = report
        self.progress = progress

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        self.progress(name)
        started = time.monotonic()
        try:
            yield
        except CallError as err:
            err.step = err.step or name
            raise
        except Problem as err:
            raise CallError(name, err.what) from err
        finally:
            self.report.steps.append((name, round((time.monotonic() - started) * 1000)))


def _make(
    plan: Plan, platform: Platform, options: Options, steps: _Steps, report: CallReport
) -> None:
    has_callee = plan.is_callee_known and not plan.is_echo and not options.callee_offline
    numbers = [plan.caller, plan.callee] if has_callee else [plan.caller]
    with steps.step("read the passwords from Vault"):
        found = _passwords(platform, numbers)
        if options.wrong_password:
            found[plan.caller] = secrets.token_urlsafe(24)
        ca_pem = platform.ca_pem()
    parties = {CALLER: _settings(plan, plan.caller, found)}
    if has_callee:
        parties[CALLEE] = _settings(plan, plan.callee, found)
    argv = platform.command(plan.outside.name, remote_argv())
    with ExitStack() as stack:
        remote = stack.enter_context(Remote(argv))
        browsers = {
            ua: stack.enter_context(Browser(remote, ua, settings, plan.page, platform.inside))
            for ua, settings in parties.items()
            if settings.number in plan.browsers
        }
        dialogue = Dialogue(remote, parties, browsers)
        with steps.step("start the user agents"):
            dialogue.open(ca_pem, plan.names)
        for ua in parties:
            with steps.step(f"register {parties[ua].number}"):
                dialogue.register(ua)
        with steps.step("call"):
            setup = dialogue.call(f"sip:{plan.callee}@{plan.domain}", options.callee_busy)
            report.setup_ms, report.ring_ms = setup.setup_ms, setup.ring_ms
            report.call_ids = [item for item in (setup.call_id_a, setup.call_id_b) if item]
            if has_callee:
                report.answered_by = plan.callee
            elif not plan.is_echo:
                raise CallError("", f"{plan.callee} was answered, by no user agent of this test")
        with steps.step("media"):
            dialogue.start_tones()
        with steps.step("measure"):
            # Meanwhile the proxy tells its connections: nothing of this call changes them.
            started = time.monotonic()
            tls = evidence.connections(platform.ask, plan)
            dialogue.hold(max(0.0, options.duration_s - (time.monotonic() - started)))
            dialogue.stop_tones()
        with steps.step("collect the evidence"):
            _collect(plan, platform, dialogue, tls, report)
        with steps.step("hang up"):
            dialogue.hang_up()
        with steps.step("verify the audio"):
            _verify_audio(dialogue, options, report)


def _passwords(platform: Platform, numbers: Sequence[str]) -> dict[str, str]:
    found = dict(platform.passwords(numbers))
    for number in numbers:
        if not found.get(number):
            raise CallError("", f"Vault holds no password for {number}")
    return found


def _settings(plan: Plan, number: str, passwords: Mapping[str, str]) -> Settings:
    is_caller = number == plan.caller
    return Settings.of(
        plan,
        number,
        passwords[number],
        tone_hz=plans.CALLER_TONE_HZ if is_caller else plans.CALLEE_TONE_HZ,
        rtp_ports=plans.CALLER_RTP if is_caller else plans.CALLEE_RTP,
    )


def _collect(
    plan: Plan,
    platform: Platform,
    dialogue: Dialogue,
    tls: Sequence[evidence.Connection],
    report: CallReport,
) -> None:
    """Ask every hop while the call is up and quiet: all counters stand still and compare.

    A packet that a busy machine still held when one hop was asked has come when the next was: asked
    again, it is no loss. What is missing at the deadline is.
    """
    deadline = time.monotonic() + SETTLE_DEADLINE_S
    while True:
        try:
            report.legs = _read_legs(plan, platform, dialogue, tls, report)
            if not any(leg.forward.lost or leg.backward.lost for leg in report.legs):
                return
        except UnsettledError:
            if time.monotonic() > deadline:
                raise
        if time.monotonic() > deadline:
            return


def _read_legs(
    plan: Plan,
    platform: Platform,
    dialogue: Dialogue,
    tls: Sequence[evidence.Connection],
    report: CallReport,
) -> list[Leg]:
    states = dialogue.streams()
    report.duration_s = round(min(dialogue.tone_s(ua) for ua in dialogue.parties), 3)
    parties = {ua: _party(plan, dialogue, ua, states[ua]) for ua in dialogue.parties}
    call_id_a = report.call_ids[0]
    call_id_b = report.call_ids[1] if len(report.call_ids) > 1 else None
    channels = evidence.channels(platform.ask, plan, report.call_ids)
    channel_a = channel_of(channels, call_id_a, plan.caller)
    channel_b = None if call_id_b is None else channel_of(channels, call_id_b, plan.callee)
    if plan.is_echo:
        if channel_a.application.lower() != "echo":
            raise CallError("", f"{plan.pbx.name} runs {channel_a.application}, not Echo")
        report.answered_by = f"{plan.callee} ({channel_a.application} on {plan.pbx.name})"
    return build_legs(
        plan,
        parties[CALLER],
        parties.get(CALLEE),
        tls,
        evidence.streams(platform.ask, plan, call_id_a),
        None if call_id_b is None else evidence.streams(platform.ask, plan, call_id_b),
        channel_a,
        channel_b,
    )


def _party(plan: Plan, dialogue: Dialogue, ua: str, state: StreamState) -> Party:
    number = dialogue.parties[ua].number
    proxy = plan.proxy_for(number)
    sockets = [row["local"] for row in dialogue.devices[ua].sockets() if row["remote"] == proxy]
    if len(sockets) != 1:
        raise CallError("", f"{number} has {len(sockets)} connections to {proxy}, not one")
    return Party(
        number,
        sockets[0],
        dialogue.suite(ua),
        state,
        dialogue.jitter_ms(ua),
        is_muxed=number in plan.browsers,
    )


def _verify_audio(dialogue: Dialogue, options: Options, report: CallReport) -> None:
    own = dialogue.parties[CALLER].tone_hz
    if CALLEE not in dialogue.parties:
        # An echo: what the caller played went to the PBX and came back.
        heard = _judge(dialogue, CALLER, own, CALLER, None, options, report)
        report.a_to_b = report.b_to_a = heard
    else:
        other = dialogue.parties[CALLEE].tone_hz
        report.a_to_b = _judge(dialogue, CALLEE, own, CALLER, other, options, report)
        report.b_to_a = _judge(dialogue, CALLER, other, CALLEE, own, options, report)
    if report.duration_s is None or report.duration_s < MIN_SENT * options.duration_s:
        raise CallError("", f"a user agent sent only {report.duration_s} s of its tone")
    for name, heard in (("to the callee", report.a_to_b), ("to the caller", report.b_to_a)):
        if heard is not None and not heard.ok:
            raise CallError("", f"audio {name}: {heard.problem}")


def _judge(
    dialogue: Dialogue,
    listener: str,
    tone_hz: int,
    speaker: str,
    echo_hz: int | None,
    options: Options,
    report: CallReport,
) -> tones.ToneReport:
    sound = dialogue.recording(listener)
    if options.keep is not None:
        options.keep.mkdir(parents=True, exist_ok=True)
        number = dialogue.parties[listener].number
        path = options.keep / f"{report.call_ids[0]}-heard-by-{number}.wav"
        path.write_bytes(sound)
        report.recordings.append(str(path))
    try:
        samples, rate = tones.read_wav(sound)
    except ValueError as err:
        raise CallError("", f"the recording of {listener}: {err}") from err
    return tones.judge(
        samples, rate, tone_hz=tone_hz, expected_s=dialogue.tone_s(speaker), echo_hz=echo_hz
    )
