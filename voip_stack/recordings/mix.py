"""Decrypted RTP packets of one call to a WAV file: the subscriber left, the other end right.

Packets are placed by their RTP timestamps: what was lost is silence, what came twice or late is in
its place. Two ends that began at different times keep their distance.
"""

from __future__ import annotations

import struct
import sys
import wave
from array import array
from collections import defaultdict
from dataclasses import dataclass
from io import BytesIO

from voip_stack.wire.analyse import rtp_payload
from voip_stack.wire.pcap import Packet, read_pcap
from voip_stack.wire.speech import DECODERS, RATE

# Static payload types (RFC 3551, 6); each has an RTP clock of 8000 Hz and 160 bytes in 20 ms.
CODECS = {0: "PCMU", 8: "PCMA", 9: "G722"}
# A stream that jumps further than this starts anew where it arrived.
LARGEST_JUMP_S = 10
LONGEST_S = 12 * 3600


class MixError(ValueError):
    """Packets that make no sound: none at all, or of a codec that is not decoded here."""


@dataclass
class _Stream:
    """One source: where its first packet lies on the call's time line, and its last timestamp."""

    offset: int
    first: int
    last: int


def to_wav(pcap: bytes) -> bytes:
    """A 16-bit stereo WAV file of 8000 Hz. Raises MixError."""
    try:
        packets = [item for item in read_pcap(pcap) if item.protocol == "udp"]
    except ValueError as error:
        raise MixError(str(error)) from error
    sides = _by_side([item for item in packets if rtp_payload(item.payload) is not None])
    if not sides:
        raise MixError("no audio packet in it")
    begun = min(side[0].time_s for side in sides)
    tracks = [_track(side, begun) for side in sides[:2]]
    while len(tracks) < 2:
        tracks.append(array("h"))
    length = max(len(track) for track in tracks)
    both = array("h", bytes(4 * length))
    for channel, track in enumerate(tracks):
        both[channel : 2 * len(track) : 2] = track
    if sys.byteorder == "big":
        both.byteswap()
    out = BytesIO()
    with wave.open(out, "wb") as sound:
        sound.setnchannels(2)
        sound.setsampwidth(2)
        sound.setframerate(RATE)
        sound.writeframes(both.tobytes())
    return out.getvalue()


def _by_side(packets: list[Packet]) -> list[list[Packet]]:
    """The packets by the relay's port that they came to: the device's side is the busier one's
    peer in no particular order, so the side whose first packet came first is the left one."""
    found: dict[tuple[str, int], list[Packet]] = defaultdict(list)
    for packet in packets:
        found[packet.destination, packet.destination_port].append(packet)
    return sorted(found.values(), key=lambda side: side[0].time_s)


def _track(packets: list[Packet], begun: float) -> array:
    track = array("h")
    streams: dict[int, _Stream] = {}
    for packet in packets:
        kind = packet.payload[1] & 0x7F
        codec = CODECS.get(kind)
        if codec is None:
            if kind >= 96:  # telephone events and comfort noise have dynamic types too
                continue
            raise MixError(f"payload type {kind} is not decoded")
        stamp, source = struct.unpack_from("!II", packet.payload, 4)
        at = _position(streams, source, stamp, round((packet.time_s - begun) * RATE))
        if not 0 <= at < LONGEST_S * RATE:
            continue
        samples = DECODERS[codec](rtp_payload(packet.payload) or b"")
        if len(track) < at:
            track.extend(array("h", bytes(2 * (at - len(track)))))
        track[at : at + len(samples)] = array("h", samples)
    return track


def _position(streams: dict[int, _Stream], source: int, stamp: int, arrived: int) -> int:
    """Where a packet's first sample lies on the time line of the call."""
    stream = streams.get(source)
    if stream is not None:
        step = (stamp - stream.last + 2**31) % 2**32 - 2**31
        if abs(step) < LARGEST_JUMP_S * RATE:
            stream.last = stamp
            stream.offset += step
            return stream.offset
    streams[source] = _Stream(arrived, stamp, stamp)
    return arrived
