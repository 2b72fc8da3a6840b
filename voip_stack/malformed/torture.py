"""RFC 4475's messages from rfc4475.sip, as they go over the wire."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("rfc4475.sip")
LENGTH = b"{}"


@dataclass(frozen=True)
class Torture:
    """name and section: the RFC's. kind: valid, invalid or odd (see the file's head)."""

    name: str
    kind: str
    section: str
    data: bytes


def messages(text: str | None = None) -> list[Torture]:
    """Every message of the file, in its order. Raises ValueError for a head that is none."""
    found = []
    for part in re.split(r"(?m)^=== ", text or FILE.read_text())[1:]:
        title, _, body = part.partition("\n")
        head = re.fullmatch(r"(\w+) (valid|invalid|odd) ([\d.]+): .+", title)
        if head is None:
            raise ValueError(f"{FILE.name}: not NAME KIND SECTION: TEXT: {title!r}")
        found.append(Torture(head[1], head[2], head[3], _wire(body)))
    return found


def _wire(text: str) -> bytes:
    # The empty line before the next title is the file's, not the message's.
    lines = text.removesuffix("\n").replace("<fold>\n", "").split("\n")
    data = "\r\n".join(lines).encode()
    data = re.sub(rb"<repeat count=(\d+)>(.*?)</repeat>", lambda m: m[2] * int(m[1]), data)
    data = re.sub(rb"<hex>([0-9a-f]+)</hex>", lambda m: bytes.fromhex(m[1].decode()), data)
    head, mark, body = data.partition(b"\r\n\r\n")
    if not mark:
        return data.rstrip(b"\r\n") + b"\r\n\r\n"
    return head.replace(LENGTH, str(len(body)).encode()) + mark + body
