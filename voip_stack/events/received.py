"""Believe a minion's event, or not.

Salt authenticates who talks to the master, but republishes a beacon's event under the tag and the
id that the minion wrote (`_minion_event` in Salt's daemons/masterapi.py). A compromised VM could
speak for any other. So each event of ours is signed with its minion's own key (_utils/voip_event)
and believed only for the host whose accepted public key verifies it, once, and only when fresh.
"""

from __future__ import annotations

import base64
import binascii
import json
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

# How far a VM's clock may be off, and how long an event may be on its way to the master's bus.
WINDOW_S = 60
# How long a nonce is remembered. An event is fresh within a window before and after it was sent, so
# two windows would do; the reactor's threads take events in almost the order in which they came.
NONCE_S = 4 * WINDOW_S
LARGEST_BYTES = 16384
SIGNED = ("host", "kind", "data", "time", "nonce")


class NotBelieved(Exception):
    """The event proves nothing. kind: the security event it is; host: whom it claims."""

    def __init__(self, kind: str, host: str, detail: str):
        self.kind, self.host = kind, host
        super().__init__(detail)


@dataclass(frozen=True)
class Event:
    """A believed event: `host` sent it. Its data is still to be validated."""

    host: str
    kind: str
    data: dict[str, Any]
    time: float


def canonical(envelope: dict[str, Any]) -> bytes:
    """What is signed; the same on both sides of the wire."""
    signed = {name: envelope.get(name) for name in SIGNED}
    return json.dumps(signed, sort_keys=True, separators=(",", ":")).encode()


class Verifier:
    """Knows the accepted keys, and which nonces it has seen.

    keys: directory of accepted public keys, one file a minion (Salt's pki_dir/minions).
    """

    def __init__(self, keys: Path):
        self.keys = keys
        # An event from before this process could be one that its predecessor has acted on.
        self.started = psutil.Process().create_time()
        self._seen: dict[str, float] = {}
        self._lock = threading.Lock()

    def verify(self, received: dict[str, Any], hosts: Collection[str]) -> Event:
        """Return the event of a minion. hosts: those of the topology. Raises NotBelieved."""
        envelope = _envelope(received)
        host, kind = envelope["host"], envelope["kind"]
        if host not in hosts:
            raise NotBelieved("event/unknown-host", host, "no such host in the topology")
        self._check_signature(envelope)
        self._check_time(envelope, _arrived(received))
        return Event(host, kind, envelope["data"], envelope["time"])

    def _check_signature(self, envelope: dict[str, Any]) -> None:
        host = envelope["host"]
        try:
            key = serialization.load_pem_public_key((self.keys / host).read_bytes())
            signature = base64.b64decode(envelope["signature"], validate=True)
        except (OSError, ValueError, binascii.Error) as error:
            raise NotBelieved("event/unsigned", host, f"no proof: {error}") from None
        if not isinstance(key, rsa.RSAPublicKey):
            raise NotBelieved("event/unsigned", host, "the minion's key is no RSA key")
        try:
            key.verify(signature, canonical(envelope), padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            detail = f"{envelope['kind'][:60]}: signed by another key than this host's"
            raise NotBelieved("event/forged", host, detail) from None

    def _check_time(self, envelope: dict[str, Any], arrived: float) -> None:
        sent = envelope["time"]
        host, kind = envelope["host"], envelope["kind"][:60]
        if abs(arrived - sent) > WINDOW_S:
            detail = f"{kind}: {arrived - sent:+.0f} s old; a replay, or a clock that is wrong"
            raise NotBelieved("event/stale", host, detail)
        if sent < self.started - 1:
            raise NotBelieved("event/before-start", host, f"{kind}: from before the master's start")
        with self._lock:
            self._seen = {n: t for n, t in self._seen.items() if arrived - t < NONCE_S}
            if envelope["nonce"] in self._seen:
                raise NotBelieved("event/replayed", host, f"{kind}: received before")
            self._seen[envelope["nonce"]] = arrived


def _arrived(received: dict[str, Any]) -> float:
    """When the event reached the bus, seconds of the epoch. Salt writes it there over whatever the
    sender has put, so an event does not grow old behind others that are worked on."""
    now = time.time()
    try:
        stamp = datetime.fromisoformat(received["_stamp"])
    except (KeyError, TypeError, ValueError):
        return now
    return min(now, stamp.replace(tzinfo=stamp.tzinfo or UTC).timestamp())


def _envelope(received: Any) -> dict[str, Any]:
    """The signed part of what the bus brought: a beacon's dictionary, or a sent event's `data`."""
    inner = received.get("data") if isinstance(received, dict) else None
    is_sent = isinstance(inner, dict) and "signature" in inner
    envelope = inner if is_sent else received
    wanted: dict[str, Any] = {"host": str, "kind": str, "data": dict, "nonce": str}
    wanted["time"] = (int, float)
    claimed = _claimed(received)
    if not isinstance(envelope, dict) or not isinstance(envelope.get("signature"), str):
        raise NotBelieved("event/unsigned", claimed, "carries no signature")
    for name, kind in wanted.items():
        if not isinstance(envelope.get(name), kind):
            raise NotBelieved("event/malformed", claimed, f"{name} is missing or of a wrong type")
    try:
        size = len(canonical(envelope))
    except (TypeError, ValueError, RecursionError):
        raise NotBelieved("event/malformed", claimed, "is no plain data") from None
    if size > LARGEST_BYTES or len(envelope["nonce"]) > 64:
        raise NotBelieved("event/malformed", claimed, f"is {size} bytes long")
    return envelope


def _claimed(received: Any) -> str:
    found = ""
    if isinstance(received, dict):
        found = str(received.get("host") or received.get("id") or "")
    return found[:64] or "unknown"
