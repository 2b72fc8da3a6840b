"""Put together what each hop of a call did: TLS, SRTP, codec, packets and loss, both ways.

Pure: the facts come from the user agents, the proxy, RTPEngine and the PBX. A fact that is missing
or that two of them tell differently raises CallError; nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from voip_stack.call.evidence import Channel, Connection, MediaStream
from voip_stack.call.failure import CallError, UnsettledError
from voip_stack.call.plan import Plan
from voip_stack.call.useragent import StreamState


@dataclass(frozen=True)
class Party:
    """One user agent's own view of the call.

    socket: "address:port" of its end of the TLS connection to the proxy. is_muxed: its RTCP comes
    by the port of its RTP (RFC 5761).
    """

    number: str
    socket: str
    suite: str | None
    state: StreamState
    jitter_ms: float | None
    is_muxed: bool = False


@dataclass(frozen=True)
class Flow:
    """Packets on one hop, one way: what one end sent and the other end received."""

    sent: int
    received: int
    jitter_ms: float | None = None

    @property
    def lost(self) -> int:
        return self.sent - self.received

    def as_dict(self) -> dict[str, Any]:
        return {
            "sent": self.sent,
            "packets": self.received,
            "lost": self.lost,
            "jitter_ms": self.jitter_ms,
        }


@dataclass(frozen=True)
class Leg:
    """One hop: signalling between two hosts, and the media that it set up.

    forward is the way from the caller to the callee.
    """

    name: str
    signalling: tuple[str, str]
    media: tuple[str, str]
    tls: str
    cipher: str
    srtp: str
    codec: str
    forward: Flow
    backward: Flow

    def as_dict(self) -> dict[str, Any]:
        return {
            "leg": self.name,
            "signalling": list(self.signalling),
            "media": list(self.media),
            "tls": self.tls,
            "cipher": self.cipher,
            "srtp": self.srtp,
            "codec": self.codec,
            "packets": self.forward.received + self.backward.received,
            "lost": self.forward.lost + self.backward.lost,
            "forward": self.forward.as_dict(),
            "backward": self.backward.as_dict(),
        }


def build_legs(
    plan: Plan,
    caller: Party,
    callee: Party | None,
    connections: Sequence[Connection],
    streams_a: Sequence[MediaStream],
    streams_b: Sequence[MediaStream] | None,
    channel_a: Channel,
    channel_b: Channel | None,
) -> list[Leg]:
    """The hops in the order of the call: two for a call that the PBX answers, else four."""
    outer_a, inner_a = _sides(streams_a, plan, caller)
    a_sent, a_received = _counters(caller)
    from_a = _came(caller, outer_a, channel_a)
    legs = [
        _leg(
            f"{caller.number} to {plan.proxy.name}",
            (caller.number, plan.proxy.name),
            (caller.number, outer_a.host),
            _connection(connections, remote=caller.socket),
            _agreed(caller, outer_a),
            _codec(caller.state.codec_sent, caller.number),
            Flow(a_sent, from_a),
            Flow(inner_a.packets, a_received, caller.jitter_ms),
        ),
        _leg(
            f"{plan.proxy.name} to {plan.pbx.name}",
            (plan.proxy.name, plan.pbx.name),
            (inner_a.host, plan.pbx.name),
            _connection(connections, remote=f"{plan.pbx.internal}:{plan.pbx_port}"),
            _encrypted(inner_a, channel_a),
            _codec(channel_a.codec, plan.pbx.name),
            Flow(from_a, channel_a.received, channel_a.jitter_ms),
            Flow(channel_a.sent, inner_a.packets),
        ),
    ]
    if callee is None or streams_b is None or channel_b is None:
        return legs
    outer_b, inner_b = _sides(streams_b, plan, callee)
    b_sent, b_received = _counters(callee)
    from_b = _came(callee, outer_b, channel_b)
    return [
        *legs,
        _leg(
            f"{plan.pbx.name} to {plan.proxy.name}",
            (plan.pbx.name, plan.proxy.name),
            (plan.pbx.name, inner_b.host),
            _connection(connections, remote_host=str(plan.pbx.internal), port=plan.proxy_port),
            _encrypted(inner_b, channel_b),
            _codec(channel_b.codec, plan.pbx.name),
            Flow(channel_b.sent, inner_b.packets),
            Flow(from_b, channel_b.received, channel_b.jitter_ms),
        ),
        _leg(
            f"{plan.proxy.name} to {callee.number}",
            (plan.proxy.name, callee.number),
            (outer_b.host, callee.number),
            _connection(connections, remote=callee.socket),
            _agreed(callee, outer_b),
            _codec(callee.state.codec_sent, callee.number),
            Flow(inner_b.packets, b_received, callee.jitter_ms),
            Flow(b_sent, from_b),
        ),
    ]


def channel_of(channels: Sequence[Channel], call_id: str, whose: str) -> Channel:
    """The PBX channel of one Call-ID. Raises CallError when there is none."""
    for channel in channels:
        if channel.call_id == call_id:
            return channel
    raise CallError("", f"the PBX has no channel for {whose} (Call-ID {call_id})")


def _leg(
    name: str,
    signalling: tuple[str, str],
    media: tuple[str, str],
    connection: Connection,
    srtp: str,
    codec: str,
    forward: Flow,
    backward: Flow,
) -> Leg:
    for flow in (forward, backward):
        if flow.lost < 0:
            raise UnsettledError(
                "", f"{name}: {flow.received} packets arrived, but only {flow.sent} were sent"
            )
    if not connection.tls.startswith("TLSv1.") or not connection.cipher:
        raise CallError("", f"{name}: signalling is not TLS ({connection.tls or 'none'})")
    return Leg(
        name,
        signalling,
        media,
        connection.tls,
        connection.cipher,
        srtp,
        codec,
        forward,
        backward,
    )


def _sides(
    streams: Sequence[MediaStream], plan: Plan, party: Party
) -> tuple[MediaStream, MediaStream]:
    """RTPEngine's outer and inner side of one call: with the user agent, and with the PBX.

    A subscriber may be registered elsewhere too: the branches that rang in vain are left out.
    """
    address = party.state.address or party.socket.rpartition(":")[0].strip("[]")
    own = f"[{address}]:{party.state.port}" if ":" in address else f"{address}:{party.state.port}"
    outer = [item for item in streams if item.interface == "external" and item.remote == own]
    inner = [
        item
        for item in streams
        if item.interface == "internal" and item.remote.startswith(f"{plan.pbx.internal}:")
    ]
    if len(outer) != 1 or len(inner) != 1:
        found = ", ".join(f"{item.interface} {item.remote}" for item in streams) or "none"
        # Two ends that use ICE come to the same pair of addresses by a message of one of them.
        error = UnsettledError if party.state.address else CallError
        raise error(
            "",
            f"{party.number}: a media stream with {own} and one with the PBX expected: {found}",
        )
    return outer[0], inner[0]


def _came(party: Party, outer: MediaStream, channel: Channel) -> int:
    """RTP packets that RTPEngine had from a party.

    It counts by port, so RTCP that comes by the same one is among them. Then the PBX, which has RTP
    and RTCP apart, tells: what got lost behind RTPEngine counts as lost before it.
    """
    if not party.is_muxed:
        return outer.packets
    if outer.packets < channel.received:
        raise UnsettledError(
            "", f"{party.number}: the PBX has {channel.received} packets, RTPEngine {outer.packets}"
        )
    return channel.received


def _connection(
    connections: Sequence[Connection],
    *,
    remote: str | None = None,
    remote_host: str | None = None,
    port: int | None = None,
) -> Connection:
    for item in connections:
        if remote is not None and item.remote == remote:
            return item
        host = item.remote.rpartition(":")[0]
        if remote_host is not None and host == remote_host and item.local.endswith(f":{port}"):
            return item
    raise CallError("", f"the proxy has no TLS connection with {remote or remote_host}")


def _agreed(party: Party, stream: MediaStream) -> str:
    """The suite that a user agent and RTPEngine both tell for the leg between them."""
    if party.suite is None or stream.srtp is None or not party.state.is_secure:
        raise CallError("", f"{party.number}: the media is not encrypted")
    if party.suite != stream.srtp:
        raise CallError("", f"{party.number} says {party.suite}, RTPEngine says {stream.srtp}")
    return party.suite


def _encrypted(stream: MediaStream, channel: Channel) -> str:
    if stream.srtp is None or not channel.is_secure:
        raise CallError("", f"{channel.name}: the media with the PBX is not encrypted")
    return stream.srtp


def _codec(codec: str | None, whose: str) -> str:
    names = {"alaw": "PCMA", "ulaw": "PCMU", "g722": "G722"}
    if not codec:
        raise CallError("", f"{whose} told no codec")
    return names.get(codec.lower(), codec.upper())


def _counters(party: Party) -> tuple[int, int]:
    if party.state.sent is None or party.state.received is None:
        raise CallError("", f"{party.number} told no packet counters")
    return party.state.sent, party.state.received
