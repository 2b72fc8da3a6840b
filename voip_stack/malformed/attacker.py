"""The attacks, from many addresses at once: `python3 -m malformed.attacker`, its order on stdin.

Standard library only: runs in the lab's outside guest. Prints one JSON object: {attack: figures}.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import random
import re
import ssl
import sys
import time
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from .mutation import framed, mutated, valid
from .wire import Link, Target, request

TRANSPORTS = ("tls", "wss")
# Each is up to three requests; below the proxies' limit for a source (60 in 2 s), since who is
# shut out tests that alone.
EVERY_S = 0.115
REPLY_S = 3.0
# For the sound OPTIONS behind a mutation, which a wrong Content-Length takes for a body.
SOUND_S = 2.0
# Of one source: twice what shuts it out.
LOGINS_EACH = 60
# Over TLS a wrong Content-Length takes the next messages with it: so many mutations keep theirs.
UNFRAMED = 0.1
SLOW_LIMIT_S = 60.0
# Of mutations: see _one; refused: no connection was to be had. connections: how many it took.
FIGURES = ("sent", "read", "closed", "swallowed", "refused", "connections")
TOGETHER = 40


@dataclass(frozen=True)
class Order:
    """What to do. sources: own addresses to come from. messages, logins, slow: how many.

    login_every_s: of one source, so that none of its registrations is told to wait.
    """

    target: Target
    context: ssl.SSLContext
    sources: list[str]
    seed: int
    messages: int
    logins: int
    login_every_s: float
    slow: int
    slow_wait: bool
    torture: list[tuple[str, bytes]]


# ------------------------------------------------------------------ mutations


async def mutations(order: Order) -> dict[str, Any]:
    """order.messages mutations, over connections that are used as long as the proxy keeps them."""
    found: dict[str, Any] = {}
    for transport in TRANSPORTS:
        found[transport] = dict.fromkeys(FIGURES, 0) | {"replies": Counter()}
    started = time.monotonic()
    share, extra = divmod(order.messages, len(order.sources))
    await asyncio.gather(
        *(
            _mutate(order, index, share + (index < extra), found)
            for index in range(len(order.sources))
        )
    )
    for figures in found.values():
        figures["replies"] = dict(sorted(figures["replies"].items()))
    return found | {"seconds": round(time.monotonic() - started, 1)}


async def _mutate(order: Order, index: int, count: int, found: dict[str, Any]) -> None:
    transport = TRANSPORTS[index % 2]
    figures = found[transport]
    chance = random.Random(f"{order.seed}/{index}")  # noqa: S311 (repeatable is the point)
    await asyncio.sleep(EVERY_S * index / len(order.sources))
    link = None
    while count > 0:
        began = time.monotonic()
        try:
            link = link or await _opened(order, transport, index, figures)
            outcome = await _one(order, link, chance)
            figures["sent"] += 1
            count -= 1
        except OSError:
            outcome = "refused"
        figures[outcome] += 1
        if link and outcome != "read":
            await link.close()
            link = None
        await asyncio.sleep(max(0.0, EVERY_S - (time.monotonic() - began)))
    if link:
        await link.close()


async def _opened(order: Order, transport: str, index: int, figures: dict[str, Any]) -> Link:
    figures["connections"] += 1
    link = Link(transport, figures["replies"])
    return await link.open(order.target, order.context, order.sources[index])


async def _one(order: Order, link: Link, chance: random.Random) -> str:
    """A mutation, and a sound OPTIONS behind it.

    "read": that was answered. "closed": the proxy has ended the connection. "swallowed": neither;
    by its Content-Length the mutation goes on, or its Via sends the answer nowhere.
    """
    fields = {
        "transport": link.transport.upper(),
        "host": link.local,
        "domain": order.target.domain,
        "call_id": "mutated-",
    }
    message = mutated(chance, valid(chance, fields))
    if link.transport == "tls" and chance.random() >= UNFRAMED:
        message = framed(message)
    await link.send(message)
    call_id = f"sound-{os.urandom(8).hex()}"
    sound = request(link, order.target, "OPTIONS", call_id)
    if await link.answered(sound, call_id, SOUND_S):
        return "read"
    return "closed" if link.is_closed else "swallowed"


# ------------------------------------------------------------------ RFC 4475, oversized


def oversized(domain: str) -> list[tuple[str, bytes]]:
    """Messages that are too long somewhere."""

    def message(*headers: str, body: str = "", length: int | None = None) -> bytes:
        size = len(body) if length is None else length
        lines = [
            f"INVITE sip:1002@{domain} SIP/2.0",
            "Via: SIP/2.0/TLS 198.51.100.1;branch=z9hG4bKoversized;rport",
            "Max-Forwards: 70", f"From: <sip:1001@{domain}>;tag=1", f"To: <sip:1001@{domain}>",
            "Call-ID: oversized", "CSeq: 1 INVITE", *headers, f"Content-Length: {size}",
        ]  # fmt: skip
        return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()

    return [
        ("a header of 20 KB", message("X-Pad: " + "a" * 20_000)),
        ("a header of 200 KB", message("X-Pad: " + "a" * 200_000)),
        ("2,000 headers", message(*(f"X-{n}: {n}" for n in range(2000)))),
        ("1,000 Via", message(*(f"Via: SIP/2.0/TLS h{n};branch=z9hG4bK{n}" for n in range(1000)))),
        ("a URI of 12 KB", message(f"Contact: <sip:{'u' * 12_000}@{domain}>")),
        (
            "3,000 parameters",
            message("Contact: <sip:u@h>" + ";p=1" * 3000),
        ),
        ("a body of 30 KB", message("Content-Type: text/plain", body="b" * 30_000)),
        ("a body of 1 MB", message("Content-Type: text/plain", body="b" * 1_000_000)),
        ("a body of 2 GB announced", message(body="b", length=2_147_483_647)),
        ("no end of the headers", message("X-Pad: " + "a" * 100)[:-40] + b"a" * 70_000),
    ]


async def one_by_one(order: Order, messages: list[tuple[str, bytes]]) -> dict[str, dict[str, str]]:
    """Each message by a connection of its own, TLS and WSS: what became of it.

    "200", "400", ...: the last reply; "closed": the proxy ended the connection; "silence".
    """
    room = asyncio.Semaphore(TOGETHER)
    found: dict[str, dict[str, str]] = {name: {} for name, _ in messages}

    async def one(name: str, data: bytes, transport: str, source: str) -> None:
        async with room:
            found[name][transport] = await _outcome(order, data, transport, source)

    await asyncio.gather(
        *(
            one(name, data, transport, order.sources[(2 * index + way) % len(order.sources)])
            for index, (name, data) in enumerate(messages)
            for way, transport in enumerate(TRANSPORTS)
        )
    )
    return found


async def _outcome(order: Order, data: bytes, transport: str, source: str) -> str:
    replies: Counter[str] = Counter()
    try:
        link = await Link(transport, replies).open(order.target, order.context, source)
    except OSError as error:
        return f"not opened: {type(error).__name__}"
    await link.send(data)
    deadline = time.monotonic() + REPLY_S
    while not replies and not link.is_closed and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    is_closed = link.is_closed
    await link.close()
    return max(replies, default="closed" if is_closed else "silence")


# ------------------------------------------------------------------ slow clients


async def slow(order: Order) -> dict[str, Any]:
    """order.slow of each kind; how many the proxy disconnected, and after how long at most."""
    kinds = {"no handshake": _silent, "half a handshake": _half, "a byte a second": _drip}
    found: dict[str, Any] = {}

    async def one(name: str, index: int) -> float | None:
        source = order.sources[index % len(order.sources)]
        try:
            return await kinds[name](order, source)
        except OSError:
            return 0.0

    async def every(name: str) -> None:
        lasted = await asyncio.gather(*(one(name, index) for index in range(order.slow)))
        ended = [seconds for seconds in lasted if seconds is not None]
        found[name] = {
            "clients": order.slow,
            "disconnected": len(ended),
            "longest_s": round(max(ended, default=0), 1),
        }

    await asyncio.gather(*(every(name) for name in kinds))
    return found


async def _plain(order: Order, source: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    opening = asyncio.open_connection(
        order.target.address, order.target.ports["tls"], local_addr=(source, 0)
    )
    return await asyncio.wait_for(opening, 10)


async def _until_end(order: Order, reader: asyncio.StreamReader) -> float | None:
    """Seconds until the proxy ended the connection, None when it did not."""
    began = time.monotonic()
    limit = SLOW_LIMIT_S if order.slow_wait else 3.0
    with contextlib.suppress(TimeoutError, ConnectionError):
        while await asyncio.wait_for(reader.read(65536), limit - (time.monotonic() - began)):
            pass
        return time.monotonic() - began
    lasted = time.monotonic() - began
    return lasted if lasted < limit - 0.5 else None


async def _silent(order: Order, source: str) -> float | None:
    reader, writer = await _plain(order, source)
    try:
        return await _until_end(order, reader)
    finally:
        writer.transport.abort()


async def _half(order: Order, source: str) -> float | None:
    """The first half of a ClientHello."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    engine = order.context.wrap_bio(incoming, outgoing, server_hostname=order.target.server_name)
    with contextlib.suppress(ssl.SSLWantReadError):
        engine.do_handshake()
    hello = outgoing.read()
    reader, writer = await _plain(order, source)
    try:
        writer.write(hello[: len(hello) // 2])
        return await _until_end(order, reader)
    finally:
        writer.transport.abort()


async def _drip(order: Order, source: str) -> float | None:
    """A sound request, a byte a second."""
    link = await Link("tls", Counter()).open(order.target, order.context, source)
    message = request(link, order.target, "OPTIONS", "drip")
    began = time.monotonic()
    limit = SLOW_LIMIT_S if order.slow_wait else 3.0
    try:
        for at in range(len(message)):
            await link.send(message[at : at + 1])
            if await link.ended(1.0):
                return time.monotonic() - began
            if time.monotonic() - began > limit:
                break
        return None
    finally:
        await link.close()


# ------------------------------------------------------------------ bad logins


def guessers(sources: list[str], logins: int) -> list[str]:
    """The sources that guess: as many as get LOGINS_EACH, or all."""
    return sources[: max(1, logins // LOGINS_EACH)]


async def logins(order: Order) -> dict[str, Any]:
    """order.logins REGISTERs with a wrong password, of real and invented users.

    refused: answered 403. dropped: no answer any more, the source is shut out. other: none of them,
    or no connection.
    """
    found: dict[str, int] = {"tried": 0, "refused": 0, "dropped": 0, "accepted": 0, "other": 0}
    sources = guessers(order.sources, order.logins)
    share, extra = divmod(order.logins, len(sources))
    await asyncio.gather(
        *(_guess(order, source, share + (index < extra), found)
          for index, source in enumerate(sources))
    )  # fmt: skip
    return found


async def _guess(order: Order, source: str, count: int, found: dict[str, int]) -> None:
    replies: Counter[str] = Counter()
    try:
        link = await Link("tls", replies).open(order.target, order.context, source)
    except OSError:
        found["other"] += count
        return
    nonce = ""
    timeout_s = REPLY_S
    for number in range(count):
        began = time.monotonic()
        user = ("1001", "1002", "9998", "9999")[number % 4]
        nonce = await _challenge(order, link, user, nonce) if timeout_s == REPLY_S else nonce
        result = await _login(order, link, user, nonce, timeout_s)
        found["tried"] += 1
        found[result] += 1
        if result == "dropped":
            # Shut out: the rest is sent all the same, and nobody waits for an answer.
            timeout_s = 0.02
        await asyncio.sleep(max(0.0, order.login_every_s - (time.monotonic() - began)))
    await link.close()


async def _challenge(order: Order, link: Link, user: str, last: str) -> str:
    """A nonce of the proxy's; the last one when it gives none any more."""
    call_id = os.urandom(8).hex()
    if await link.answered(
        request(link, order.target, "REGISTER", call_id, user), call_id, REPLY_S
    ) and (given := re.search(rb'nonce="([^"]+)"', link.last)):
        return given[1].decode()
    return last


async def _login(order: Order, link: Link, user: str, nonce: str, timeout_s: float) -> str:
    uri = f"sip:{order.target.domain}"
    wrong = hashlib.md5(os.urandom(8), usedforsecurity=False).hexdigest()
    credentials = (
        f'Authorization: Digest username="{user}", realm="{order.target.domain}", nonce="{nonce}",'
        f' uri="{uri}", response="{wrong}", algorithm=MD5, cnonce="{wrong[:16]}", qop=auth,'
        " nc=00000001"
    )
    call_id = os.urandom(8).hex()
    message = request(
        link, order.target, "REGISTER", call_id, user, 2, ("Expires: 60", credentials)
    )
    if not await link.answered(message, call_id, timeout_s):
        return "dropped"
    status = link.last.split(b" ", 2)[1]
    return {b"403": "refused", b"200": "accepted"}.get(status, "other")


# ------------------------------------------------------------------ all of it


async def attack(order: Order) -> dict[str, Any]:
    """Slow clients beside everything; bad logins last, since they shut the sources out."""
    dragging = asyncio.create_task(slow(order))
    found: dict[str, Any] = {
        "torture": await one_by_one(order, order.torture),
        "oversized": await one_by_one(order, oversized(order.target.domain)),
        "mutations": await mutations(order),
    }
    found["slow"] = await dragging
    found["logins"] = await logins(order)
    return found


def read(text: str) -> Order:
    """The order as JSON: Order's fields, target as Target's, torture as [name, base64]."""
    given: dict[str, Any] = json.loads(text)
    target = Target(**given.pop("target"))
    torture: list[tuple[str, Coroutine | bytes]] = [
        (name, base64.b64decode(data)) for name, data in given.pop("torture")
    ]
    return Order(target=target, context=target.context(), torture=torture, **given)  # type: ignore[arg-type]


if __name__ == "__main__":
    # The calls' user agents are in the same guest and come first: what is measured is the platform,
    # not who of them gets the CPU.
    os.nice(19)
    print(json.dumps(asyncio.run(attack(read(sys.stdin.read())))))
