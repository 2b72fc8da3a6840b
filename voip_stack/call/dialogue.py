"""What the user agents do in one call, from registration to hang-up, and what they saw of it.

Only the user agents take part: this runs against any proxy. Each step waits for the device's own
event with a deadline; a call that ends too early ends the step with the SIP answer.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from voip_stack.call.device import Baresip, Device
from voip_stack.call.failure import CallError, sip_code
from voip_stack.call.remote import Event, Remote
from voip_stack.call.useragent import (
    RECORDING,
    SAMPLE_BYTES,
    Settings,
    StreamState,
    parse_secure_event,
)

REGISTER_DEADLINE_S = 6.0
RING_DEADLINE_S = 6.0
ANSWER_DEADLINE_S = 6.0
MEDIA_DEADLINE_S = 4.0
DTLS_DEADLINE_S = 12.0
DRAIN_DEADLINE_S = 1.0
DRAIN_INTERVAL_S = 0.05
HANGUP_DEADLINE_S = 4.0
PACKET_S = 0.020
CALLER, CALLEE = "a", "b"


@dataclass(frozen=True)
class Setup:
    """How the call came about. call_id_b is None when the platform itself answered."""

    call_id_a: str
    call_id_b: str | None
    ring_ms: int | None
    setup_ms: int


class Dialogue:
    """The user agents of one call: always the caller, and the callee when it is one of ours."""

    def __init__(
        self,
        remote: Remote,
        parties: Mapping[str, Settings],
        devices: Mapping[str, Device] | None = None,
    ):
        """devices: the parties' user agents; who has none here uses baresip."""
        self.remote = remote
        self.parties = dict(parties)
        self.devices: dict[str, Device] = {
            ua: Baresip(remote, ua, settings) for ua, settings in parties.items()
        } | dict(devices or {})
        self._states: dict[str, StreamState] = {}
        self._dialled = 0

    @property
    def has_callee(self) -> bool:
        return CALLEE in self.parties

    def open(self, ca_pem: str, names: Mapping[str, str]) -> None:
        """Start every party's device. names: {name: its addresses, with spaces between}."""
        for device in self.devices.values():
            device.open(ca_pem, names)

    def register(self, ua: str) -> None:
        """Register over TLS. Raises CallError with the SIP code of the refusal."""
        settings = self.parties[ua]
        since = self.remote.position()
        self.devices[ua].register()
        if not settings.register_s:
            return
        event = self.remote.wait(
            {ua: ["REGISTER_OK", "REGISTER_FAIL", "ENDED"]}, REGISTER_DEADLINE_S, since=since
        )
        if event is None:
            raise CallError("", f"no answer within {REGISTER_DEADLINE_S:.0f} s", ua=ua)
        if event.kind != "REGISTER_OK":
            raise CallError("", self._explain(event), sip_code(event.text), ua)

    def call(self, uri: str, is_busy: bool = False) -> Setup:
        """Dial, let it ring, answer. Raises CallError with the SIP code when that fails.

        is_busy: the callee refuses with 486 instead of answering.
        """
        self._dialled = self.remote.position()
        call_id_a = self.devices[CALLER].dial(uri)
        start = self._await(CALLER, ["CALL_LOCAL_SDP"], "call", ANSWER_DEADLINE_S)
        if call_id_a is None:
            raise CallError("call", f"{self.parties[CALLER].number} placed no call")
        ring, call_id_b = None, None
        if self.has_callee:
            incoming = self._await(CALLEE, ["CALL_INCOMING"], "call", RING_DEADLINE_S)
            call_id_b = str(incoming.data.get("id", "")) or None
            ring = self._await(CALLER, ["CALL_RINGING", "CALL_PROGRESS"], "ring", RING_DEADLINE_S)
            callee = self.devices[CALLEE]
            callee.refuse() if is_busy else callee.accept()
        step = "answer" if self.has_callee else "call"
        established = self._await(CALLER, ["CALL_ESTABLISHED"], step, ANSWER_DEADLINE_S)
        if self.has_callee:
            self._await(CALLEE, ["CALL_ESTABLISHED"], "answer", ANSWER_DEADLINE_S)
        return Setup(
            call_id_a=call_id_a or str(established.data.get("id", "")),
            call_id_b=call_id_b,
            ring_ms=None if ring is None else round((ring.time_s - start.time_s) * 1000),
            setup_ms=round((established.time_s - start.time_s) * 1000),
        )

    def start_tones(self) -> None:
        """Start every party's tone and wait until each hears its first packet."""
        for ua, settings in self.parties.items():
            # The audio of a DTLS-SRTP call begins with its keys, which come by the media's own way.
            if (
                settings.keying != "sdes"
                and self._next({ua: ["CALL_MENC"]}, DTLS_DEADLINE_S) is None
            ):
                raise CallError("", f"{settings.number} got no keys by DTLS", ua=ua)
            self.devices[ua].play()
        for ua, settings in self.parties.items():
            event = self._next({ua: ["CALL_RTPESTAB"]}, MEDIA_DEADLINE_S)
            if event is None:
                raise CallError(
                    "",
                    f"no audio packet reached {settings.number} within {MEDIA_DEADLINE_S:.0f} s",
                    ua=ua,
                )
            self._raise_if_closed(event, "")

    def hold(self, duration_s: float) -> None:
        """Let the tones sound. Raises CallError when the call ends meanwhile."""
        event = self.remote.wait(
            {ua: ["CALL_CLOSED", "ENDED"] for ua in self.parties}, duration_s, since=self._dialled
        )
        if event is not None:
            raise CallError("", f"the call ended early: {self._explain(event)}", ua=event.ua)

    def stop_tones(self) -> None:
        """Make every party quiet on the wire; the call stays up."""
        for device in self.devices.values():
            device.quiet()

    def tone_s(self, ua: str) -> float:
        """For how long this party played its tone, by the packets that it sent."""
        return (self._states[ua].sent or 0) * PACKET_S

    def streams(self) -> dict[str, StreamState]:
        """Each party's counters, once no packet is under way any more."""
        states = self.states()
        deadline = time.monotonic() + DRAIN_DEADLINE_S
        while time.monotonic() < deadline:
            # Nothing tells that the last packet came: two equal readings in a row do.
            self.hold(DRAIN_INTERVAL_S)
            again = self.states()
            if again == states:
                break
            states = again
        self._states = states
        return states

    def suite(self, ua: str) -> str | None:
        """The SRTP suite that this party's media runs on, None when it is not encrypted."""
        suites = [
            suite
            for event in self.remote.seen(ua, "CALL_MENC")
            if (suite := parse_secure_event(event.text))
        ]
        return suites[-1] if suites else None

    def jitter_ms(self, ua: str) -> float | None:
        """The jitter of what this party received, from its last RTCP exchange; None without one."""
        for event in reversed(self.remote.seen(ua, "CALL_RTCP")):
            received = event.data.get("rtcp_stats", {}).get("rx", {})
            if received.get("sent"):
                return round(received["jit"] / 1000, 2)
        return None

    def hang_up(self) -> None:
        """The caller hangs up; every party has to see the end of the call."""
        self.devices[CALLER].hang_up()
        for ua in self.parties:
            wanted = {ua: ["CALL_CLOSED", "ENDED"]}
            if self.remote.wait(wanted, HANGUP_DEADLINE_S, since=self._dialled) is None:
                number = self.parties[ua].number
                raise CallError("", f"{number} did not see the end of the call", ua=ua)

    def recording(self, ua: str) -> bytes:
        return self.devices[ua].recording()

    def hears(self, ua: str, seconds: float) -> list[int]:
        """What this party heard last: samples of at most so long, new since the last such call."""
        rate = self.parties[ua].sample_rate
        data = self.remote.latest(ua, RECORDING, round(seconds * rate) * SAMPLE_BYTES)
        return list(memoryview(data[: len(data) // SAMPLE_BYTES * SAMPLE_BYTES]).cast("h"))

    def states(self) -> dict[str, StreamState]:
        """Each party's counters as they are; of `streams`, which waits until they stand still."""
        return {ua: device.state() for ua, device in self.devices.items()}

    def _next(self, wanted: dict[str, list[str]], timeout_s: float) -> Event | None:
        """Wait for a wanted event, or for any party's end of the call."""
        both = {
            ua: [*wanted.get(ua, []), "CALL_CLOSED", "ENDED"] for ua in {*self.parties, *wanted}
        }
        return self.remote.wait(both, timeout_s, since=self._dialled)

    def _await(self, ua: str, kinds: list[str], step: str, timeout_s: float) -> Event:
        event = self._next({ua: kinds}, timeout_s)
        if event is None:
            number = self.parties[ua].number
            raise CallError(step, f"{number}: no {'/'.join(kinds)} within {timeout_s:.0f} s", ua=ua)
        self._raise_if_closed(event, step)
        return event

    def _raise_if_closed(self, event: Event, step: str) -> None:
        if event.kind not in ("CALL_CLOSED", "ENDED"):
            return
        # When the callee ends a call, the caller's answer carries the code: that one is reported.
        if event.ua != CALLER:
            event = self._callers_end(event)
        raise CallError(step, self._explain(event), sip_code(event.text), event.ua)

    def _callers_end(self, event: Event) -> Event:
        wanted = {CALLER: ["CALL_CLOSED", "ENDED"]}
        return self.remote.wait(wanted, ANSWER_DEADLINE_S, since=self._dialled) or event

    def _explain(self, event: Event) -> str:
        if event.kind == "ENDED":
            return f"the user agent ended ({event.text})"
        if event.kind == "REGISTER_FAIL" and event.text.startswith("Protocol error"):
            name = self.parties[event.ua].proxy_name
            return f"TLS with the proxy failed: its certificate is not our CA's, or not for {name}"
        return event.text or "no reason given"
