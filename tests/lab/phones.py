"""Phones of a lab test: two user agents outside in one call, wherever in the guest they are."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from functools import partial

from voip_stack import vault
from voip_stack.call import tones
from voip_stack.call.browser import Browser
from voip_stack.call.dialogue import CALLEE, CALLER, Dialogue
from voip_stack.call.plan import CALLEE_RTP, CALLEE_TONE_HZ, CALLER_RTP, CALLER_TONE_HZ, make_plan
from voip_stack.call.remote import Remote, remote_argv
from voip_stack.call.useragent import Settings
from voip_stack.cli.hosts import pillar, provider_of
from voip_stack.paths import ca_file

NUMBERS = ("1001", "1002")
LISTEN_S = 0.6
# Profile of a leg, and whether RTPEngine has keys for it.
SDES, DTLS = ("RTP/SAVP", True), ("UDP/TLS/RTP/SAVPF", True)
# An offer of SRTP, of who sends none.
SDP = (
    "v=0\r\no=- 1 1 IN IP4 198.18.64.100\r\ns=-\r\nc=IN IP4 198.18.64.100\r\nt=0 0\r\n"
    "m=audio 40000 RTP/SAVP 8\r\na=rtpmap:8 PCMA/8000\r\n"
    "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + "A" * 40 + "\r\n"
)


@contextlib.contextmanager
def phones(
    keying: tuple[str, str] = ("sdes", "sdes"),
    numbers: tuple[str, str] = NUMBERS,
    address: str | None = None,
    prefix: tuple[str, ...] = (),
    names: Mapping[str, str] | None = None,
    by_ipv6: Collection[str] = (),
    browsers: Collection[str] = (),
    proxy: str = "kamailio",
    callee_proxy: str | None = None,
):
    """Yield a Dialogue whose two parties are registered.

    prefix: goes before the agent's command in client-1, such as `ip netns exec NAME`; address: the
    one that the user agents have there. by_ipv6: the numbers that come by IPv6. browsers: those
    that are Chromium on the web phone's page. proxy: where all of them register, but for the callee
    where callee_proxy names another one. They are gone when the block ends.
    """
    plan = make_plan(pillar(), *numbers, by_ipv6=by_ipv6, browsers=browsers, proxy=proxy)
    passwords = vault.subscriber_passwords(numbers)
    sides = (
        (CALLER, CALLER_TONE_HZ, CALLER_RTP),
        (CALLEE, CALLEE_TONE_HZ, CALLEE_RTP),
    )
    port = callee_proxy and pillar().services[callee_proxy]["sip-tls"].ports[0]
    at = {CALLER: {}, CALLEE: {"proxy_port": port} if port else {}}
    parties = {
        ua: Settings.of(
            plan,
            number,
            passwords[number],
            tone_hz=tone,
            rtp_ports=ports,
            keying="dtls+ice" if number in browsers else way,
            address=address or plan.address_of(number),
            **at[ua],
        )
        for (ua, tone, ports), number, way in zip(sides, numbers, keying, strict=True)
    }
    provider = provider_of()
    argv = provider.command("client-1", [*prefix, *remote_argv()])
    inside = partial(provider.network_command, "client-1")
    with contextlib.ExitStack() as stack:
        remote = stack.enter_context(Remote(argv))
        devices = {
            ua: stack.enter_context(Browser(remote, ua, settings, plan.page, inside))
            for ua, settings in parties.items()
            if settings.number in browsers
        }
        dialogue = Dialogue(remote, parties, devices)
        dialogue.open(ca_file().read_text(), names or plan.names)
        for ua in parties:
            dialogue.register(ua)
        try:
            yield dialogue
        except Exception:
            print(logs(dialogue))
            raise


@contextlib.contextmanager
def phone(number, proxy="kamailio", tone_hz=CALLER_TONE_HZ, register_s=0):
    """Yield a Dialogue of one party, the caller: for calls that the PBX itself answers."""
    model = pillar()
    plan = make_plan(model, number, model.routing.echo_extension, proxy=proxy)
    password = vault.subscriber_passwords([number])[number]
    settings = Settings.of(
        plan, number, password, tone_hz=tone_hz, rtp_ports=CALLER_RTP, register_s=register_s
    )
    with Remote(provider_of().command("client-1", remote_argv())) as remote:
        dialogue = Dialogue(remote, {CALLER: settings})
        dialogue.open(ca_file().read_text(), plan.names)
        dialogue.register(CALLER)
        try:
            yield dialogue
        except Exception:
            print(logs(dialogue))
            raise


def profiles(legs):
    """{network: profile} of the two legs that RTPEngine has of a call."""
    return {leg["interface"]: (leg["protocol"], bool(leg["srtp"])) for leg in legs}


def call(dialogue):
    """The caller calls, the callee answers: the Setup."""
    settings = dialogue.parties[CALLEE]
    return dialogue.call(f"sip:{settings.number}@{settings.domain}")


def heard(dialogue, listener):
    """What `listener` heard of the other party's tone, once the call has ended."""
    speaker = CALLEE if listener == CALLER else CALLER
    samples, rate = tones.read_wav(dialogue.recording(listener))
    return tones.judge(
        samples,
        rate,
        tone_hz=dialogue.parties[speaker].tone_hz,
        expected_s=dialogue.tone_s(speaker),
        echo_hz=dialogue.parties[listener].tone_hz,
    )


def hears(dialogue, listener):
    """Whether this party hears the other one's tone just now."""
    party = dialogue.parties[listener]
    tone = dialogue.parties[CALLEE if listener == CALLER else CALLER].tone_hz
    dialogue.hears(listener, LISTEN_S)  # what it heard before
    dialogue.hold(LISTEN_S)
    return tones.has_tone(dialogue.hears(listener, LISTEN_S), party.sample_rate, tone)


def talk(dialogue, seconds):
    """Both tones for so long, then the end; fails unless each side heard the other's."""
    dialogue.start_tones()
    dialogue.hold(seconds)
    dialogue.stop_tones()
    dialogue.streams()
    dialogue.hang_up()
    for listener in (CALLER, CALLEE):
        report = heard(dialogue, listener)
        assert report.ok, f"{dialogue.parties[listener].number}: {report.problem}"


def logs(dialogue):
    """What the user agents printed, for a test that failed."""
    return "\n".join(f"{one.ua} {one.text}" for one in dialogue.remote.events if one.kind == "LOG")
