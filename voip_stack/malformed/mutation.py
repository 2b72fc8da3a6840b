"""Valid SIP messages, and what chance makes of them. Seeded: the same seed, the same messages.

Standard library only: runs in the lab's outside guest.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

# Requests and replies that a device sends; FIELDS are filled in for each connection.
METHODS = (
    "INVITE", "REGISTER", "OPTIONS", "ACK", "BYE", "CANCEL", "MESSAGE", "SUBSCRIBE",
    "NOTIFY", "REFER", "UPDATE", "PRACK", "INFO", "PUBLISH",
)  # fmt: skip
REPLIES = ("100 Trying", "180 Ringing", "183 Session Progress", "200 OK", "486 Busy Here")
SDP = (
    "v=0\r\no=- 20518 0 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n"
    "m=audio 40000 RTP/SAVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\n"
    "a=rtpmap:101 telephone-event/8000\r\n"
    "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj\r\n"
    "a=sendrecv\r\n"
)
DIGEST = (
    'Digest username="1001", realm="{domain}", nonce="aSkXZmkpFjoaC5bYs1s", uri="sip:{domain}",'
    ' response="0123456789abcdef0123456789abcdef", algorithm=MD5, cnonce="5c1a", qop=auth,'
    " nc=00000001"
)
# Numbers where one stands: at and beyond what 8, 16, 32 and 64 bits hold, and what is none.
NUMBERS = (
    b"-1", b"0", b"255", b"256", b"65536", b"2147483648", b"4294967296", b"18446744073709551616",
    b"9" * 40, b"1e9", b"0x10", b"NaN", b"",
)  # fmt: skip
# Pieces that parsers stumble over.
PIECES = (
    b"\x00", b"\xff\xfe", b"\r\n", b"\r", b"\n", b"\r\n ", b"\r\n\t", b"<", b">", b'"', b"\\", b";",
    b",", b":", b"@", b"=", b"%00", b"%", b"%ZZ", b"[::1", b"[", b"]", b"sip:", b"sips:", b"tel:",
    b"SIP/2.0", b";lr", b";tag=", b";branch=", b"z9hG4bK", b"*", b"${x}", b"$(rU)", b"%s%n", b"'--",
)  # fmt: skip


def valid(chance: random.Random, fields: dict[str, str]) -> bytes:
    """A message as a device sends it, of a random kind.

    fields: transport (of Via: TLS or WSS), host ("address:port" of the sender), domain, call_id.
    """
    is_reply = chance.random() < 0.15
    method = chance.choice(METHODS)
    number = chance.choice(("1001", "1002", "9999", "*43", "+4930123456"))
    body = SDP.format(host=fields["host"].partition(":")[0]) if chance.random() < 0.5 else ""
    start = (
        f"SIP/2.0 {chance.choice(REPLIES)}"
        if is_reply
        else f"{method} sip:{number}@{fields['domain']} SIP/2.0"
    )
    tag = f";tag={chance.getrandbits(40):x}"
    via = f"SIP/2.0/{fields['transport']} {fields['host']}"
    lines = [
        start,
        f"Via: {via};branch=z9hG4bK{chance.getrandbits(60):x};rport",
        "Max-Forwards: 70",
        f'From: "A" <sip:1001@{fields["domain"]}>{tag}',
        f"To: <sip:{number}@{fields['domain']}>{tag if chance.random() < 0.3 else ''}",
        f"Call-ID: {fields['call_id']}{chance.getrandbits(40):x}",
        f"CSeq: {chance.randrange(1, 9999)} {method}",
        f"Contact: <sip:1001@{fields['host']};transport=tls;ob>;expires=300",
    ]
    if chance.random() < 0.3:
        lines.append("Authorization: " + DIGEST.format(domain=fields["domain"]))
    if chance.random() < 0.3:
        lines.append(f"Record-Route: <sip:{fields['host']};lr>, <sip:{fields['domain']};lr;ftag=x>")
    if chance.random() < 0.3:
        lines.append(f"Route: <sip:{fields['domain']};lr>")
    lines += ["User-Agent: Phone/1.0", "Supported: replaces, 100rel, outbound", "Expires: 300"]
    if body:
        lines.append("Content-Type: application/sdp")
    lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def _flip(chance: random.Random, text: bytes) -> bytes:
    at = chance.randrange(len(text))
    return text[:at] + bytes([text[at] ^ (1 << chance.randrange(8))]) + text[at + 1 :]


def _insert(chance: random.Random, text: bytes) -> bytes:
    at = chance.randrange(len(text))
    return text[:at] + chance.choice(PIECES) * chance.choice((1, 1, 2, 40)) + text[at:]


def _noise(chance: random.Random, text: bytes) -> bytes:
    at = chance.randrange(len(text))
    return text[:at] + chance.randbytes(chance.randrange(1, 64)) + text[at:]


def _cut(chance: random.Random, text: bytes) -> bytes:
    start = chance.randrange(len(text))
    return text[:start] + text[start + chance.randrange(1, 80) :]


def _repeat(chance: random.Random, text: bytes) -> bytes:
    start = chance.randrange(len(text))
    piece = text[start : start + chance.randrange(1, 60)]
    return text[:start] + piece * chance.choice((2, 3, 50)) + text[start:]


def _number(chance: random.Random, text: bytes) -> bytes:
    found = list(re.finditer(rb"\d+", text))
    if not found:
        return text
    one = chance.choice(found)
    return text[: one.start()] + chance.choice(NUMBERS) + text[one.end() :]


def _long(chance: random.Random, text: bytes) -> bytes:
    found = list(re.finditer(rb"[A-Za-z0-9]+", text))
    if not found:
        return text
    one = chance.choice(found)
    return text[: one.start()] + b"A" * chance.choice((256, 1024, 4096)) + text[one.end() :]


def _lines(chance: random.Random, text: bytes) -> bytes:
    """A header dropped, doubled, moved or put on a line of its own."""
    head, mark, body = text.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    at = chance.randrange(len(lines))
    way = chance.randrange(4)
    if way == 0:
        del lines[at]
    elif way == 1:
        lines[at:at] = [lines[at]] * chance.choice((1, 2, 30))
    elif way == 2:
        lines.insert(chance.randrange(len(lines)), lines.pop(at))
    else:
        lines[at] = lines[at].replace(b" ", b"\r\n ", 1)
    return b"\r\n".join(lines) + mark + body


WAYS: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    _flip, _insert, _noise, _cut, _repeat, _number, _long, _lines,
)  # fmt: skip


def mutated(chance: random.Random, text: bytes, most: int = 6) -> bytes:
    """The message after one to `most` changes; never empty, never above 60,000 bytes."""
    for _ in range(chance.randrange(1, most + 1)):
        text = chance.choice(WAYS)(chance, text)[:60_000] or b"\r\n\r\n"
    return text


def framed(text: bytes) -> bytes:
    """The message with a Content-Length that is true: over a stream, the next one is found again.

    Without the end of a header section it gets one, and the header where it has none.
    """
    head, mark, body = text.partition(b"\r\n\r\n")
    if not mark:
        head, body = text.rstrip(b"\r\n"), b""
    length = b"Content-Length: %d" % len(body)
    head, count = re.subn(rb"(?im)^(content-length|l)[ \t]*:[^\r\n]*", length, head)
    if not count:
        head += b"\r\n" + length
    return head + b"\r\n\r\n" + body
