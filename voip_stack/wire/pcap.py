"""Read a classic pcap file into IPv4 TCP and UDP packets. Standard library only."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

# Link types (the LINKTYPE_ registry of tcpdump.org) -> where the protocol number and payload are.
ETHERNET, LINUX_SLL, LINUX_SLL2 = 1, 113, 276
IPV4, VLAN = 0x0800, 0x8100
TCP, UDP = 6, 17


@dataclass(frozen=True)
class Packet:
    """One TCP segment or UDP datagram. protocol: "tcp" or "udp"."""

    time_s: float
    protocol: str
    source: str
    source_port: int
    destination: str
    destination_port: int
    payload: bytes
    sequence: int = 0
    is_syn: bool = False

    @property
    def flow(self) -> tuple[str, str, int, str, int]:
        return (
            self.protocol,
            self.source,
            self.source_port,
            self.destination,
            self.destination_port,
        )


def read_pcap(data: bytes) -> Iterator[Packet]:
    """Yield the packets in order; what is no IPv4 TCP or UDP is left out.

    Raises ValueError when data is no pcap file. A packet cut off at the end is left out.
    """
    if len(data) < 24:
        raise ValueError("no pcap file: too short")
    magic = data[:4]
    orders = {
        b"\xd4\xc3\xb2\xa1": ("<", 1e6),
        b"\xa1\xb2\xc3\xd4": (">", 1e6),
        b"\x4d\x3c\xb2\xa1": ("<", 1e9),
        b"\xa1\xb2\x3c\x4d": (">", 1e9),
    }
    if magic not in orders:
        raise ValueError("no pcap file: unknown magic number")
    order, fraction = orders[magic]
    link = struct.unpack_from(f"{order}I", data, 20)[0] & 0xFFFF
    at = 24
    while at + 16 <= len(data):
        seconds, part, captured, _ = struct.unpack_from(f"{order}IIII", data, at)
        at += 16
        frame = data[at : at + captured]
        at += captured
        if len(frame) == captured:
            packet = _ip(_payload_of_link(link, frame), seconds + part / fraction)
            if packet is not None:
                yield packet


def _payload_of_link(link: int, frame: bytes) -> bytes:
    if link == ETHERNET:
        start, kind = 14, _word(frame, 12)
        while kind == VLAN:
            kind, start = _word(frame, start + 2), start + 4
    elif link == LINUX_SLL:
        start, kind = 16, _word(frame, 14)
    elif link == LINUX_SLL2:
        start, kind = 20, _word(frame, 0)
    else:
        raise ValueError(f"pcap: link type {link} is not known here")
    return frame[start:] if kind == IPV4 else b""


def _word(data: bytes, at: int) -> int:
    return struct.unpack_from("!H", data, at)[0] if len(data) >= at + 2 else 0


def _ip(data: bytes, time_s: float) -> Packet | None:
    if len(data) < 20 or data[0] >> 4 != 4:
        return None
    header, total = (data[0] & 15) * 4, _word(data, 2)
    # A later fragment has no ports; the first one has all that is judged here.
    if _word(data, 6) & 0x1FFF:
        return None
    # Ethernet pads short frames; offloading may leave the total length at 0.
    body = data[header : total or None]
    source, destination = socket.inet_ntoa(data[12:16]), socket.inet_ntoa(data[16:20])
    if data[9] == UDP and len(body) >= 8:
        ports = struct.unpack_from("!HH", body)
        return Packet(time_s, "udp", source, ports[0], destination, ports[1], body[8:])
    if data[9] == TCP and len(body) >= 20:
        first, second, sequence = struct.unpack_from("!HHI", body)
        payload = body[(body[12] >> 4) * 4 :]
        is_syn = bool(body[13] & 2)
        return Packet(time_s, "tcp", source, first, destination, second, payload, sequence, is_syn)
    return None
