"""One TLS or WSS connection to a proxy, for messages that no SIP library would send.

Standard library only: runs in the lab's outside guest.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import ssl
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

STATUS = re.compile(rb"SIP/2\.0 (\d{3})")
CALL_ID = re.compile(rb"(?im)^Call-ID:[ \t]*([^\r\n]+)")


@dataclass(frozen=True)
class Target:
    """The proxy as a device knows it. ca: PEM. ports: {"tls": 5071, "wss": 8444}."""

    address: str
    ports: dict[str, int]
    server_name: str
    domain: str
    ca: str

    def context(self) -> ssl.SSLContext:
        """Verifies the proxy, as a device does."""
        return ssl.create_default_context(cadata=self.ca)


class Link:
    """An open connection; what comes back is counted by status code as it arrives.

    replies: {status code: count}. heard: called with the head of each reply too. Raises OSError
    (TimeoutError and ssl.SSLError are) when it cannot be opened; is_closed once the proxy has
    ended it.
    """

    def __init__(
        self,
        transport: str,
        replies: Counter[str],
        heard: Callable[[bytes], None] | None = None,
    ):
        self._tell = heard
        self.transport = transport
        self.replies = replies
        self.is_closed = False
        self.local = ""
        self.last = b""
        self._seen: dict[bytes, asyncio.Event] = {}

    async def open(self, target: Target, context: ssl.SSLContext, source: str) -> Link:
        opening = asyncio.open_connection(
            target.address,
            target.ports[self.transport],
            ssl=context,
            server_hostname=target.server_name,
            local_addr=(source, 0),
        )
        self._reader, self._writer = await asyncio.wait_for(opening, 10)
        host, port = self._writer.get_extra_info("sockname")[:2]
        self.local = f"{host}:{port}"
        if self.transport == "wss":
            await asyncio.wait_for(self._upgrade(target.server_name), 10)
        self._reading = asyncio.create_task(self._read())
        return self

    async def _upgrade(self, name: str) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        self._writer.write(
            f"GET / HTTP/1.1\r\nHost: {name}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Protocol: sip\r\n\r\n".encode()
        )
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            raise ConnectionError("closed instead of an upgrade") from error
        if b" 101 " not in head.split(b"\r\n")[0]:
            raise ConnectionError(repr(head[:40]))

    async def _read(self) -> None:
        """Frames of WebSocket are not taken apart: a reply's head ends with an empty line."""
        left = b""
        try:
            while chunk := await self._reader.read(65536):
                *heads, left = (left + chunk).split(b"\r\n\r\n")
                for head in heads:
                    self._heard(head)
                left = left[-65536:]
        except (OSError, ssl.SSLError):
            pass
        finally:
            self.is_closed = True
            for event in self._seen.values():
                event.set()

    def _heard(self, head: bytes) -> None:
        status = STATUS.search(head)
        if status is None:
            return
        self.last = head[status.start() :]
        self.replies[status[1].decode()] += 1
        call_id = CALL_ID.search(head)
        if call_id and call_id[1] in self._seen:
            self._seen.pop(call_id[1]).set()
        if self._tell:
            self._tell(self.last)

    def write(self, message: bytes) -> None:
        """Send without waiting until it has gone."""
        self._writer.write(frame(message) if self.transport == "wss" else message)

    async def send(self, message: bytes) -> None:
        self.write(message)
        try:
            await self._writer.drain()
        except (OSError, ssl.SSLError):
            self.is_closed = True

    async def answered(self, message: bytes, call_id: str, timeout_s: float) -> bool:
        """Send a request and wait for a reply of its Call-ID. False: none came, or it is closed."""
        if self.is_closed:  # since before: nothing would end the wait
            return False
        event = self._seen[call_id.encode()] = asyncio.Event()
        await self.send(message)
        try:
            await asyncio.wait_for(event.wait(), timeout_s)
        except TimeoutError:
            return False
        finally:
            self._seen.pop(call_id.encode(), None)
        return not self.is_closed

    async def ended(self, timeout_s: float) -> bool:
        """Whether the proxy ends the connection within that time."""
        await asyncio.wait([self._reading], timeout=timeout_s)
        return self.is_closed

    async def close(self) -> None:
        self._reading.cancel()
        self._writer.transport.abort()
        await asyncio.sleep(0)


def frame(data: bytes) -> bytes:
    """One masked WebSocket text frame."""
    mask = os.urandom(4)
    size = len(data)
    if size < 126:
        head = struct.pack("!BB", 0x81, 0x80 | size)
    elif size < 65536:
        head = struct.pack("!BBH", 0x81, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", 0x81, 0x80 | 127, size)
    repeated = (mask * (size // 4 + 1))[:size]
    masked = int.from_bytes(data, "big") ^ int.from_bytes(repeated, "big")
    return head + mask + masked.to_bytes(size, "big")


def request(
    link: Link,
    target: Target,
    method: str,
    call_id: str,
    user: str = "1001",
    cseq: int = 1,
    headers: tuple[str, ...] = (),
    body: str = "",
    uri: str | None = None,
) -> bytes:
    """A sound request of a user. uri: the domain's by default."""
    via = f"SIP/2.0/{link.transport.upper()} {link.local}"
    transport = "ws" if link.transport == "wss" else link.transport
    lines = [
        f"{method} {uri or 'sip:' + target.domain} SIP/2.0",
        f"Via: {via};branch=z9hG4bK{os.urandom(8).hex()};rport",
        "Max-Forwards: 70",
        f"From: <sip:{user}@{target.domain}>;tag={os.urandom(4).hex()}",
        f"To: <{uri or f'sip:{user}@{target.domain}'}>",
        f"Call-ID: {call_id}",
        f"CSeq: {cseq} {method}",
        f"Contact: <sip:{user}@{link.local};transport={transport}>",
        *headers,
        f"Content-Length: {len(body)}",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()
