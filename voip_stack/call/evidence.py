"""What the platform itself says about a call: asked on its hosts through Salt, never assumed.

Each function returns what one execution module told, in the shape that legs.py reads.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from voip_stack.call.failure import CallError
from voip_stack.call.plan import Plan
from voip_stack.problem import Problem

# call(minion, function, *arguments) -> what that function returned there.
Ask = Callable[..., Any]


@dataclass(frozen=True)
class Connection:
    """One TLS connection of the proxy. local and remote are "address:port"."""

    local: str
    remote: str
    tls: str
    cipher: str


@dataclass(frozen=True)
class MediaStream:
    """One side of RTPEngine on `host`: what it received from the peer at `remote`."""

    host: str
    remote: str
    interface: str
    srtp: str | None
    packets: int


@dataclass(frozen=True)
class Channel:
    """One channel of the PBX, with its RTP counters. Jitter is None when no RTCP told it."""

    name: str
    call_id: str
    application: str
    codec: str
    is_secure: bool
    received: int
    sent: int
    jitter_ms: float | None


def connections(ask: Ask, plan: Plan) -> list[Connection]:
    """The proxy's TLS connections."""
    rows = _ask(ask, plan.proxy.name, f"{plan.daemon}.connections")
    return [
        Connection(str(row["local"]), str(row["remote"]), str(row["tls"]), str(row["cipher"]))
        for row in rows
    ]


def streams(ask: Ask, plan: Plan, call_id: str) -> list[MediaStream]:
    """RTPEngine's two sides of the call with this Call-ID, from the host that carries it now."""
    reasons = []
    for host in plan.media:
        try:
            rows = _ask(ask, host.name, "rtpengine.legs", call_id)
        except CallError as err:
            reasons.append(err.reason)
            continue
        return [
            MediaStream(
                host.name,
                str(row["remote"]),
                str(row["interface"]),
                row["srtp"] or None,
                int(row["packets"]),
            )
            for row in rows
        ]
    raise CallError("", "; ".join(reasons))


def channels(ask: Ask, plan: Plan, call_ids: Collection[str]) -> list[Channel]:
    """The PBX's channels of these Call-IDs; what other calls do just now does not matter."""
    rows = _ask(ask, plan.pbx.name, "asterisk.channels")
    return [_channel(row) for row in rows if row.get("call_id") in call_ids]


def _channel(row: dict[str, Any]) -> Channel:
    try:
        return Channel(
            name=str(row["name"]),
            call_id=str(row["call_id"]),
            application=str(row["application"]),
            codec=str(row["codec"]),
            # What it says of signalling it reads off the device's Contact, which of a browser is
            # `transport=ws`. How it is connected itself, the proxy tells: see `connections`.
            is_secure=bool(row["secure_media"]),
            received=int(row["rx"]["packets"]),
            sent=int(row["tx"]["packets"]),
            jitter_ms=row["rx"].get("jitter_ms"),
        )
    except (KeyError, TypeError, ValueError) as err:
        raise CallError("", f"the PBX's channel {row.get('name')} misses {err}") from err


def _ask(ask: Ask, host: str, function: str, *arguments: str) -> list[dict[str, Any]]:
    """Ask, and once again when there was no answer: asking changes nothing."""
    try:
        answer = _once_more(ask, host, function, *arguments)
    except Problem as err:
        raise CallError("", f"{host}: {function}: {err.what}") from err
    if not isinstance(answer, list):
        raise CallError("", f"{host}: {function}: {str(answer)[:200]}")
    return answer


def _once_more(ask: Ask, host: str, function: str, *arguments: str) -> Any:
    try:
        return ask(host, function, *arguments)
    except Problem as err:
        if "did not answer" not in err.what:
            raise
        return ask(host, function, *arguments)
