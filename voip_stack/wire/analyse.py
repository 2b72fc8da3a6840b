"""Judge captured packets: cleartext SIP with a body, audible RTP, ports that nobody declared."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

from voip_stack.call.tones import has_tone
from voip_stack.pillar.schema import Host, Pillar
from voip_stack.wire.pcap import Packet
from voip_stack.wire.speech import DECODERS, RATE

# What a stream must hold before a tone is looked for: half a second.
MIN_SPEECH_BYTES = 4000
# Enough to hear it; more would only cost time.
MAX_SPEECH_BYTES = 16000
FRAME_BYTES = 160
SIP_START = re.compile(
    rb"(?:^|\r\n)(?:SIP/2\.0 [1-6]\d\d |[A-Z]{3,12} sips?:[^\r\n]{1,512} SIP/2\.0\r\n)"
)
CONTENT_LENGTH = re.compile(rb"\r\n(?:content-length|l)[ \t]*:[ \t]*(\d+)", re.IGNORECASE)
CRYPTO = b"a=crypto:"
SDP = re.compile(rb"v=0\r?\no=")


@dataclass(frozen=True)
class Port:
    """A port that may be spoken to at an address."""

    address: str
    protocol: str
    first: int
    last: int

    def matches(self, address: str, protocol: str, port: int) -> bool:
        is_here = address == self.address and protocol == self.protocol
        return is_here and self.first <= port <= self.last


@dataclass
class Findings:
    """What was found; each entry is a sentence. Counters say how much was looked at.

    outbound: (protocol, port) of what hosts asked of others outside the platform's networks.
    clear_keys: the flows in which an SRTP master key (RFC 4568) could be read.
    """

    cleartext_sip: list[str] = field(default_factory=list)
    audible: list[str] = field(default_factory=list)
    undeclared: list[str] = field(default_factory=list)
    outbound: set[tuple[str, int]] = field(default_factory=set)
    clear_keys: set[str] = field(default_factory=set)
    packets: int = 0
    media_streams: int = 0
    media_packets: int = 0
    tls_streams: int = 0

    @property
    def is_clean(self) -> bool:
        return not (self.cleartext_sip or self.audible or self.undeclared)


def _addresses(host: Host, network: str) -> list[str]:
    """A host's own one, and that of its relay."""
    both = [getattr(holder, network, None) for holder in (host, host.relay)]
    return [str(address) for address in both if address is not None]


def declared_ports(pillar: Pillar) -> list[Port]:
    """Every port of the pillar's services at the addresses where it is open, and the master's."""
    found = []
    for name, host in pillar.hosts.items():
        for component in pillar.components_of(name):
            for listener in pillar.services.get(component, {}).values():
                if listener.port is None:
                    continue
                first, last = listener.ports
                for network in listener.networks:
                    found += [
                        Port(address, proto, first, last)
                        for address in _addresses(host, network)
                        for proto in listener.proto
                    ]
    gateway = str(pillar.networks["internal"].gateway)
    for port in (pillar.master.publish, pillar.master.request):
        found.append(Port(gateway, "tcp", port, port))
    return found


def analyse(
    packets: Iterable[Packet],
    ports: Sequence[Port],
    tones_hz: Sequence[int],
    networks: Sequence[IPv4Network],
) -> Findings:
    """Judge packets. A packet is in order when the port that it goes to, or answers from, is
    declared. tones_hz: the tones that must not be audible. networks: the platform's own; what
    leaves them (package downloads, DNS) is nobody's service here and is listed apart."""
    findings = Findings()
    streams: dict[tuple, list[Packet]] = defaultdict(list)
    for packet in packets:
        findings.packets += 1
        streams[packet.flow].append(packet)
    for flow, members in sorted(streams.items()):
        protocol, source, source_port, destination, destination_port = flow
        name = f"{protocol} {source}:{source_port} to {destination}:{destination_port}"
        is_inside = [_is_in(networks, address) for address in (source, destination)]
        if is_inside == [True, False]:
            findings.outbound.add((protocol, destination_port))
        elif all(is_inside) and not any(
            port.matches(destination, protocol, destination_port)
            or port.matches(source, protocol, source_port)
            for port in ports
        ):
            findings.undeclared.append(f"{name}: {len(members)} packets, no declared port")
        if any(CRYPTO in member.payload for member in members):
            findings.clear_keys.add(name)
        if protocol == "udp":
            for member in members:
                _look_for_sip(member.payload, name, findings)
            _listen(members, name, tones_hz, findings)
        else:
            data = reassemble(members)
            findings.tls_streams += data[:2] in (b"\x16\x03", b"\x17\x03")
            _look_for_sip(data, name, findings)
    return findings


def _is_in(networks: Sequence[IPv4Network], address: str) -> bool:
    return any(IPv4Address(address) in network for network in networks)


def reassemble(segments: Sequence[Packet]) -> bytes:
    """The bytes of one direction of a TCP connection, in sequence order, repeats left out.

    A gap (a lost capture) is skipped: what follows it is still looked at.
    """
    found, expected = [], None
    for start, payload in sorted(_offsets(segments), key=lambda item: item[0]):
        end = start + len(payload)
        if expected is None or end > expected:
            found.append(payload[0 if expected is None else max(0, expected - start) :])
            expected = end
    return b"".join(found)


def _offsets(segments: Sequence[Packet]) -> Iterator[tuple[int, bytes]]:
    """Where each payload belongs, relative to the first segment: sequence numbers wrap."""
    base = segments[0].sequence if segments else 0
    for segment in segments:
        if segment.payload:
            distance = (segment.sequence - base + 2**31) % 2**32 - 2**31
            yield distance, segment.payload


def _look_for_sip(data: bytes, name: str, findings: Findings) -> None:
    for start in SIP_START.finditer(data):
        end = data.find(b"\r\n\r\n", start.end() - 2)
        head = data[start.start() : end if end >= 0 else None]
        length = CONTENT_LENGTH.search(head)
        body = data[end + 4 :] if end >= 0 else b""
        if (length and int(length.group(1)) > 0) or (length is None and SDP.match(body)):
            line = head.strip().split(b"\r\n", 1)[0].decode("ascii", "replace")
            findings.cleartext_sip.append(f"{name}: {line}, with a body")


def _listen(
    members: Sequence[Packet], name: str, tones_hz: Sequence[int], findings: Findings
) -> None:
    by_source: dict[bytes, list[bytes]] = defaultdict(list)
    for member in members:
        speech = rtp_payload(member.payload)
        if speech is not None:
            by_source[member.payload[8:12]].append(speech)
    for ssrc, parts in by_source.items():
        findings.media_packets += len(parts)
        # One frame of each packet: an authentication tag behind it would only be noise.
        speech = b"".join(part[:FRAME_BYTES] for part in parts)
        if len(speech) < MIN_SPEECH_BYTES:
            continue
        findings.media_streams += 1
        middle = max(0, (len(speech) - MAX_SPEECH_BYTES) // 2 // FRAME_BYTES * FRAME_BYTES)
        speech = speech[middle : middle + MAX_SPEECH_BYTES]
        for codec, decode in DECODERS.items():
            samples = decode(speech)
            for tone in tones_hz:
                if has_tone(samples, RATE, tone):
                    findings.audible.append(
                        f"{name} (SSRC {ssrc.hex()}): a tone of {tone} Hz, read as {codec}"
                    )


def rtp_payload(datagram: bytes) -> bytes | None:
    """The payload of an RTP packet (RFC 3550, 5.1), None when it is none or too short to hold
    speech. RTCP's packet types (RFC 5761, 4) are left out."""
    if len(datagram) < 12 + 80 or datagram[0] >> 6 != 2 or 64 <= datagram[1] & 0x7F <= 95:
        return None
    start = 12 + 4 * (datagram[0] & 15)
    if datagram[0] & 0x10:
        if len(datagram) < start + 4:
            return None
        start += 4 + 4 * int.from_bytes(datagram[start + 2 : start + 4], "big")
    return datagram[start:] or None
