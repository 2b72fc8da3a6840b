"""Many devices at once, over few connections or many: `python3 -m voip_stack.bench.agents`.

Standard library only: runs in the lab's outside guest. The first line on stdin is an Order as JSON,
each line after it a word of `obey` and its value as JSON; the answer to each is one line of JSON.
Connections and contacts live until stdin ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import resource
import ssl
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from ..malformed.wire import CALL_ID, STATUS, Link, Target, request

EXPIRES_S = 3600
# Timer F of RFC 3261: who has no answer by then asks again.
UNANSWERED_S = 32.0
LOOK_EVERY_S = 1.0
# Handshakes at a time: as many as wait in the proxy's queue, and no more.
TOGETHER = 100
REPLY_S = 30.0
# To be told from a device's.
AGENT = "voip-bench-registrations"
CHALLENGE = re.compile(rb'(?im)^WWW-Authenticate:.*nonce="([^"]+)"')
RETRY_AFTER = re.compile(rb"(?im)^Retry-After:[ \t]*(\d+)")


@dataclass(frozen=True)
class Order:
    """users: [[number, password], ...], a contact for each. links: connections for them.
    sources: own addresses to come from, in turn. limit_s: for all to be registered."""

    target: Target
    sources: list[str]
    users: list[list[str]]
    links: int
    limit_s: float


@dataclass
class Contact:
    """One device that registers. done: seconds until it was."""

    number: str
    password: str
    link: Link
    call_id: str
    cseq: int = 0
    sent: float = 0.0
    tries: int = 0
    is_waiting: bool = False
    done: float | None = None


@dataclass
class Crowd:
    """All of them."""

    order: Order
    context: ssl.SSLContext
    links: list[Link] = field(default_factory=list)
    contacts: dict[bytes, Contact] = field(default_factory=dict)
    replies: Counter[str] = field(default_factory=Counter)
    told: list[int] = field(default_factory=list)  # seconds of every Retry-After
    untold: int = 0  # 503 without one
    unanswered: int = 0
    lost: int = 0  # contacts whose connection has ended
    began: float = 0.0
    left: int = 0

    # -------------------------------------------------------------- connections

    async def connect(self, count: int) -> dict[str, Any]:
        """So many more connections; each is asked whether it is alive."""
        began, room = time.monotonic(), asyncio.Semaphore(TOGETHER)
        failed: Counter[str] = Counter()

        async def one(index: int) -> None:
            source = self.order.sources[index % len(self.order.sources)]
            async with room:
                try:
                    link = Link("tls", self.replies, self.heard)
                    self.links.append(await link.open(self.order.target, self.context, source))
                    # At once, as a device does: a connection that says nothing is soon closed.
                    await self._answers(link)
                except OSError as error:
                    failed[type(error).__name__] += 1

        first = len(self.links)
        await asyncio.gather(*(one(first + index) for index in range(count)))
        seconds = time.monotonic() - began
        return await self.alive() | {"seconds": round(seconds, 2), "failed": dict(failed)}

    async def alive(self) -> dict[str, Any]:
        """On how many connections OPTIONS is answered."""
        room = asyncio.Semaphore(TOGETHER)

        async def one(link: Link) -> bool:
            async with room:
                return await self._answers(link)

        answered = await asyncio.gather(*(one(link) for link in self.links))
        return {"connections": len(self.links), "answered": sum(answered)}

    async def _answers(self, link: Link) -> bool:
        call_id = os.urandom(8).hex()
        message = request(link, self.order.target, "OPTIONS", call_id)
        return await link.answered(message, call_id, REPLY_S)

    # -------------------------------------------------------------- registrations

    async def register(self) -> dict[str, Any]:
        """Every contact at once; those that are told to wait come back when they were told."""
        while len(self.links) < self.order.links:
            opened = await self.connect(self.order.links - len(self.links))
            if opened["failed"]:
                raise ConnectionError(f"not opened: {opened['failed']}")
        for user in self.order.users:
            self._add(user)
        self.began, self.left = time.monotonic(), len(self.contacts)
        for index, contact in enumerate(self.contacts.values()):
            self._send(contact)
            if index % 20 == 0:
                await asyncio.sleep(0)
        return await self._registered()

    async def enter(self, user: list[str]) -> dict[str, Any]:
        """One more contact, by a connection that is there: as `register` of it alone."""
        self.began, self.left = time.monotonic(), 1
        self._send(self._add(user))
        return await self._registered()

    def _add(self, user: list[str]) -> Contact:
        index, (number, password) = len(self.contacts), user
        link = self.links[index % len(self.links)]
        contact = Contact(number, password, link, f"{AGENT}-{index}")
        self.contacts[contact.call_id.encode()] = contact
        return contact

    async def _registered(self) -> dict[str, Any]:
        while self.left and time.monotonic() - self.began < self.order.limit_s:
            await asyncio.sleep(LOOK_EVERY_S if self.left > 100 else 0.01)
            self._ask_again()
        return self._figures()

    def _send(self, contact: Contact, *headers: str) -> None:
        contact.is_waiting = False
        if contact.link.is_closed:
            self._lose(contact)
            return
        contact.cseq += 1
        contact.tries += 1
        contact.sent = time.monotonic()
        extra = (f"Expires: {EXPIRES_S}", f"User-Agent: {AGENT}", *headers)
        contact.link.write(
            request(
                contact.link, self.order.target, "REGISTER", contact.call_id, contact.number,
                contact.cseq, extra,
            )
        )  # fmt: skip

    def _lose(self, contact: Contact) -> None:
        contact.is_waiting = True
        self.lost += 1
        self.left -= 1

    def _ask_again(self) -> None:
        late = time.monotonic() - UNANSWERED_S
        for contact in self.contacts.values():
            if contact.done is None and not contact.is_waiting and contact.sent < late:
                self.unanswered += 1
                self._send(contact)

    def heard(self, head: bytes) -> None:
        """A reply, of whichever contact."""
        call_id, status = CALL_ID.search(head), STATUS.search(head)
        contact = self.contacts.get(call_id[1].strip()) if call_id else None
        if contact is None or status is None or contact.done is not None:
            return
        if status[1] == b"200":
            contact.done = time.monotonic() - self.began
            self.left -= 1
        elif status[1] == b"401" and (nonce := CHALLENGE.search(head)):
            self._send(contact, self._credentials(contact, nonce[1].decode()))
        elif status[1] == b"503":
            self._wait(contact, RETRY_AFTER.search(head))

    def _wait(self, contact: Contact, told: re.Match[bytes] | None) -> None:
        contact.is_waiting = True
        if told is None:
            self.untold += 1
        else:
            self.told.append(int(told[1]))
        seconds = float(told[1]) if told else UNANSWERED_S
        asyncio.get_running_loop().call_later(seconds, self._send, contact)

    def _credentials(self, contact: Contact, nonce: str) -> str:
        domain = self.order.target.domain
        uri, client_nonce = f"sip:{domain}", os.urandom(8).hex()
        ha1 = _hashed(f"{contact.number}:{domain}:{contact.password}")
        ha2 = _hashed(f"REGISTER:{uri}")
        response = _hashed(f"{ha1}:{nonce}:00000001:{client_nonce}:auth:{ha2}")
        return (
            f'Authorization: Digest username="{contact.number}", realm="{domain}", nonce="{nonce}",'
            f' uri="{uri}", response="{response}", cnonce="{client_nonce}", algorithm=MD5,'
            " qop=auth, nc=00000001"
        )

    def _figures(self) -> dict[str, Any]:
        done = [contact.done for contact in self.contacts.values() if contact.done is not None]
        return {
            "contacts": len(self.contacts),
            "registered": len(done),
            "seconds": round(max(done, default=0.0), 2),
            "replies": dict(sorted(self.replies.items())),
            "shed": len(self.told) + self.untold,
            "untold": self.untold,
            "shortest_wait_s": min(self.told, default=0),
            "longest_wait_s": max(self.told, default=0),
            "unanswered": self.unanswered,
            "lost": self.lost,
            "most_requests": max((item.tries for item in self.contacts.values()), default=0),
        }

    async def close(self) -> None:
        for link in self.links:
            with contextlib.suppress(OSError, RuntimeError):
                await link.close()


def _hashed(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def read(text: str) -> Order:
    """The order as JSON: Order's fields, target as Target's."""
    given: dict[str, Any] = json.loads(text)
    return Order(target=Target(**given.pop("target")), **given)


async def obey(crowd: Crowd) -> None:
    """Do what stdin says: `register`, `connect NUMBER`, `alive`, `enter [NUMBER, PASSWORD]`."""
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        word, _, value = line.strip().partition(" ")
        found = await getattr(crowd, word)(*([json.loads(value)] if value else []))
        print(json.dumps(found), flush=True)
    await crowd.close()


def main() -> None:
    # A file for each connection.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    order = read(sys.stdin.readline())
    asyncio.run(obey(Crowd(order, order.target.context())))


if __name__ == "__main__":
    main()
