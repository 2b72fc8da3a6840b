"""The judge of captured packets, on packets made here: it finds what it must, and nothing else."""

import math
import os
import random
import struct
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from voip_stack import paths
from voip_stack.pillar import load
from voip_stack.wire.analyse import analyse, declared_ports, reassemble, rtp_payload
from voip_stack.wire.pcap import read_pcap
from voip_stack.wire.speech import A_LAW, MU_LAW

TONES = (600, 1000)
NETWORKS = [IPv4Network("192.168.64.0/24"), IPv4Network("198.18.64.0/24")]
UA, PROXY, MEDIA, PBX = "198.18.64.100", "198.18.64.10", "198.18.64.20", "192.168.64.30"
INVITE = (
    b"INVITE sip:1002@voip.test SIP/2.0\r\nVia: SIP/2.0/TLS x\r\n"
    b"Content-Type: application/sdp\r\nContent-Length: 10\r\n\r\nv=0\r\no=- 1"
)
REFUSAL = b"SIP/2.0 403 TLS only\r\nVia: SIP/2.0/UDP x\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture(scope="module")
def ports():
    return declared_ports(load(paths.pillar_dir()))


def address(text):
    return bytes(int(part) for part in text.split("."))


def ipv4(protocol, source, destination, body):
    head = struct.pack(
        "!BBHHHBBH4s4s",
        0x45, 0, 20 + len(body), 0, 0, 64, protocol, 0, address(source), address(destination),
    )  # fmt: skip
    return head + body


def udp(source, source_port, destination, port, payload):
    body = struct.pack("!HHHH", source_port, port, 8 + len(payload), 0) + payload
    return ipv4(17, source, destination, body)


def tcp(source, source_port, destination, port, payload, sequence=1):
    head = struct.pack("!HHIIBBHHH", source_port, port, sequence, 0, 0x50, 0x18, 0, 0, 0)
    return ipv4(6, source, destination, head + payload)


LINKS = {
    1: b"\0" * 12 + b"\x08\x00",
    113: b"\0" * 14 + b"\x08\x00",
    276: b"\x08\x00" + b"\0" * 18,
}


def pcap(packets, link=1, order="<"):
    magic = struct.pack(f"{order}I", 0xA1B2C3D4)
    out = magic + struct.pack(f"{order}HHiIII", 2, 4, 0, 0, 65535, link)
    for number, packet in enumerate(packets):
        frame = LINKS[link] + packet
        out += struct.pack(f"{order}IIII", number, 0, len(frame), len(frame)) + frame
    return out


def rtp(payload, number, kind=8, extra=b"", flags=0x80):
    return struct.pack("!BBHII", flags, kind, number, number * 160, 0xABCD) + extra + payload


def speech(codec, hz, packets=40):
    if codec == "G722":
        data = Path(__file__).with_name("data").joinpath("tone-1000hz.g722").read_bytes()
        return [data[start : start + 160] for start in range(0, len(data), 160)]
    table = {"PCMA": A_LAW, "PCMU": MU_LAW}[codec]
    nearest = [
        min(range(256), key=lambda code, want=want: abs(table[code] - want))
        for want in (round(9000 * math.sin(2 * math.pi * hz * n / 8000)) for n in range(8000 // 50))
    ]
    return [bytes(nearest)] * packets


def media(payloads, source=UA, source_port=20000, destination=MEDIA, port=30000, **options):
    return [
        udp(source, source_port, destination, port, rtp(payload, number, **options))
        for number, payload in enumerate(payloads)
    ]


def judge(packets, ports, link=1):
    return analyse(read_pcap(pcap(packets, link)), ports, TONES, NETWORKS)


@pytest.mark.parametrize("codec", ["PCMA", "PCMU", "G722"])
@pytest.mark.parametrize("hz", TONES)
def test_plain_rtp_is_heard(ports, codec, hz):
    found = judge(media(speech(codec, hz)), ports)
    wanted = 1000 if codec == "G722" else hz
    assert any(f"{wanted} Hz, read as {codec}" in line for line in found.audible)
    assert found.undeclared == []


@pytest.mark.parametrize(
    "options",
    [{"extra": b"\xbe\xde\0\1abcd", "flags": 0x90}, {"extra": b"\0\0\0\1", "flags": 0x81}],
    ids=("extension", "csrc"),
)
def test_plain_rtp_with_a_longer_header_is_heard(ports, options):
    assert judge(media(speech("PCMA", 600), **options), ports).audible


def test_null_cipher_with_its_tag_is_heard(ports):
    payloads = [part + os.urandom(10) for part in speech("PCMU", 1000)]
    assert judge(media(payloads), ports).audible


def test_encrypted_media_is_not_heard(ports):
    source = random.Random(3)
    found = judge(media([source.randbytes(170) for _ in range(200)]), ports)
    assert found.is_clean
    assert (found.media_streams, found.media_packets) == (1, 200)


@pytest.mark.parametrize("link", [1, 113, 276])
def test_cleartext_sip_with_a_body_is_found(ports, link):
    found = judge([udp(UA, 5060, PROXY, 5070, INVITE)], ports, link)
    assert found.cleartext_sip == [
        f"udp {UA}:5060 to {PROXY}:5070: INVITE sip:1002@voip.test SIP/2.0, with a body"
    ]


def test_cleartext_sip_over_several_segments_out_of_order(ports):
    halves = (tcp(UA, 4000, PROXY, 5070, INVITE[:40], 100), tcp(
        UA, 4000, PROXY, 5070, INVITE[40:], 140))  # fmt: skip
    for packets in (halves, halves[::-1], (halves[0], *halves)):
        assert len(judge(packets, ports).cleartext_sip) == 1


def test_a_refusal_without_a_body_is_in_order(ports):
    found = judge([udp(PROXY, 5070, UA, 5060, REFUSAL)], ports)
    assert found.is_clean


def test_a_readable_media_key_is_found(ports):
    offer = b"1 d3:sdp40:a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:xe"
    found = judge([udp("192.168.64.10", 4000, "192.168.64.20", 22222, offer)], ports)
    assert found.clear_keys == {"udp 192.168.64.10:4000 to 192.168.64.20:22222"}


def test_tls_is_not_sip(ports):
    record = b"\x16\x03\x03\x00\x40" + os.urandom(64)
    found = judge([tcp(UA, 4000, PROXY, 5071, record)], ports)
    assert found.is_clean
    assert found.tls_streams == 1


@pytest.mark.parametrize(
    ("packet", "is_declared"),
    [
        (tcp(UA, 4000, PROXY, 5071, b""), True),
        (tcp(PROXY, 5071, UA, 4000, b""), True),
        (tcp(UA, 4000, PROXY, 22, b""), False),
        (udp(UA, 4000, PROXY, 5071, b""), False),
        (tcp("192.168.64.10", 4000, PBX, 5061, b""), True),
        (tcp(UA, 4000, PBX, 8080, b""), False),
        (udp(UA, 20000, MEDIA, 30001, b""), True),
        (udp(UA, 20000, MEDIA, 29999, b""), False),
        (udp(UA, 4000, MEDIA, 22222, b""), False),
        (tcp("192.168.64.30", 4000, "192.168.64.1", 4506, b""), True),
    ],
)
def test_declared_ports(ports, packet, is_declared):
    assert bool(judge([packet], ports).undeclared) is not is_declared


def test_what_leaves_the_platform_is_listed_apart(ports):
    found = judge(
        [
            tcp("192.168.64.10", 4000, "10.1.2.3", 443, b"\x16\x03"),
            tcp("10.1.2.3", 443, "192.168.64.10", 4000, b"\x16\x03"),
            udp("192.168.64.10", 4000, "10.1.2.3", 53, b""),
        ],
        ports,
    )
    assert found.is_clean
    assert found.outbound == {("tcp", 443), ("udp", 53)}


def test_reassembly_across_the_sequence_wrap():
    segments = list(read_pcap(pcap([
        tcp(UA, 1, PROXY, 2, b"abc", 0xFFFFFFFE), tcp(UA, 1, PROXY, 2, b"def", 1),
        tcp(UA, 1, PROXY, 2, b"cd", 0),
    ])))  # fmt: skip
    assert reassemble(segments) == b"abcdef"


@pytest.mark.parametrize("order", ["<", ">"])
def test_either_byte_order(order):
    assert len(list(read_pcap(pcap([udp(UA, 1, PROXY, 2, b"x")], order=order)))) == 1


@pytest.mark.parametrize("data", [b"", b"x" * 40, pcap([])[:10]])
def test_what_is_no_capture_is_refused(data):
    with pytest.raises(ValueError, match="no pcap file"):
        list(read_pcap(data))


def test_a_truncated_capture_is_read_as_far_as_it_goes():
    data = pcap([udp(UA, 1, PROXY, 2, b"x"), udp(UA, 1, PROXY, 2, b"y")])
    assert len(list(read_pcap(data[:-3]))) == 1


@pytest.mark.parametrize(
    "datagram",
    [b"", b"\x80\xc8" + b"\0" * 120, b"\x00" * 120, rtp(b"x" * 20, 1), b"\x90\x08" + b"\xff" * 120],
    ids=("empty", "rtcp", "version 0", "short", "broken extension"),
)
def test_what_is_no_speech(datagram):
    assert rtp_payload(datagram) is None


def test_noise_never_breaks_the_judge(ports):
    source = random.Random(11)
    packets = [
        maker(UA, source.randrange(1, 65536), PROXY, 5071, source.randbytes(source.randrange(300)))
        for maker in (udp, tcp)
        for _ in range(300)
    ]
    assert judge(packets, ports).packets == 600
