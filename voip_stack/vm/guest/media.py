"""Send RTP and SRTP through RTPEngine, from two network namespaces of the machine, and count.

    python media.py '{"ng": [address, port], "inside": address, "outside": ..., "packets": 9}'

One end is plain RTP, the other SRTP (SDES, RFC 4568 and 3711), so RTPEngine encrypts in one
direction and decrypts in the other. Prints one JSON object: what was sent and received at each end
(payloads compared after decryption), what RTPEngine says of the call, and the module's list.
"""

import base64
import ctypes
import hashlib
import hmac
import json
import os
import re
import select
import socket
import struct
import sys
import time
from pathlib import Path

sys.path.insert(0, "/opt/voip-test/salt/_utils")

import voip_kernel
import voip_ng
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

INTERVAL_S = 0.02
# At most: the daemon fetches the kernel's counters once a second.
SETTLE_S = 2.2
# Between two looks whether it has.
LOOK_S = 0.1
# Packets between two looks whether the daemon has handed a call to the kernel.
CHUNK = 10
SUITE = "AES_CM_128_HMAC_SHA1_80"
TAG_BYTES = 10
_SECRET = re.compile(r"\s*(master|session) (key|salt|auth):")
_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


def socket_in(namespace, address):
    """A UDP socket bound to address inside a network namespace (None: here): it stays there."""
    if namespace is None:
        return _bound(address)
    with open("/proc/self/ns/net") as here, open(f"/run/netns/{namespace}") as there:
        _enter(there)
        try:
            return _bound(address)
        finally:
            _enter(here)


def _bound(address):
    found = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    found.bind((address, 0))
    return found


def _enter(file):
    if _LIBC.setns(file.fileno(), _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


class Srtp:
    """One direction of SRTP: AES-CM-128 with HMAC-SHA1-80, no rollover (RFC 3711)."""

    def __init__(self, inline):
        key = base64.b64decode(inline + "=" * (-len(inline) % 4))
        master, salt = key[:16], key[16:30]
        self.key, self.auth, self.salt = (
            _stream(master, _xor_index(salt, label), length)
            for label, length in ((0, 16), (1, 20), (2, 14))
        )

    def _crypt(self, packet):
        sequence, _, ssrc = struct.unpack_from("!HII", packet, 2)
        start = int.from_bytes(self.salt + b"\0\0", "big") ^ (ssrc << 64) ^ (sequence << 16)
        cipher = Cipher(algorithms.AES(self.key), modes.CTR(start.to_bytes(16, "big")))
        return packet[:12] + cipher.encryptor().update(packet[12:])

    def tag(self, packet):
        return hmac.new(self.auth, packet + b"\0\0\0\0", hashlib.sha1).digest()[:TAG_BYTES]

    def protect(self, packet):
        sealed = self._crypt(packet)
        return sealed + self.tag(sealed)

    def unprotect(self, packet):
        sealed, tag = packet[:-TAG_BYTES], packet[-TAG_BYTES:]
        if not hmac.compare_digest(self.tag(sealed), tag):
            raise ValueError("wrong authentication tag")
        return self._crypt(sealed)


def _xor_index(salt, label):
    return int.from_bytes(salt + b"\0\0", "big") ^ (label << 64)


def _stream(key, start, length):
    cipher = Cipher(algorithms.AES(key), modes.CTR((start % (1 << 128)).to_bytes(16, "big")))
    return cipher.encryptor().update(b"\0" * length)


class Clear:
    """Plain RTP."""

    def protect(self, packet):
        return packet

    def unprotect(self, packet):
        return packet


class End:
    """A party: a socket in its own namespace, and what it sent and got."""

    def __init__(self, namespace, address, ssrc, outgoing):
        self.socket = socket_in(namespace, address)
        self.address, self.port = self.socket.getsockname()
        self.ssrc = ssrc
        self.outgoing = outgoing
        self.incoming: Clear | Srtp = Clear()
        self.remote = None
        self.sent = self.received = self.wrong = 0

    def send(self, sequence):
        packet = struct.pack("!BBHII", 0x80, 8, sequence, sequence * 160, self.ssrc)
        packet += payload(self.ssrc, sequence)
        self.socket.sendto(self.outgoing.protect(packet), self.remote)
        self.sent += 1

    def receive(self):
        data, source = self.socket.recvfrom(2048)
        try:
            packet = self.incoming.unprotect(data)
            sequence, _, ssrc = struct.unpack_from("!HII", packet, 2)
            good = packet[12:] == payload(ssrc, sequence) and source == self.remote
        except ValueError:
            good = False
        self.received += good
        self.wrong += not good

    def report(self):
        return {"sent": self.sent, "received": self.received, "wrong": self.wrong}


def payload(ssrc, sequence):
    """160 bytes that only this packet has."""
    return hashlib.sha256(b"%d %d" % (ssrc, sequence)).digest() * 5


def sdp(end, profile, inline=None, tag=1):
    """inline: the SDES key that this end sends with; tag: of the offer's line that it answers."""
    crypto = f"a=crypto:{tag} {SUITE} inline:{inline}\r\n" if inline else ""
    return (
        f"v=0\r\no=- 1 1 IN IP4 {end.address}\r\ns=-\r\nc=IN IP4 {end.address}\r\nt=0 0\r\n"
        f"m=audio {end.port} {profile} 8\r\na=rtpmap:8 PCMA/8000\r\n{crypto}a=sendrecv\r\n"
    )


def read_sdp(text):
    """((address, port), (tag, inline key) or None) of the first medium."""
    lines = text.splitlines()
    address = next(line.split()[-1] for line in lines if line.startswith("c="))
    port = int(next(line for line in lines if line.startswith("m=")).split()[1])
    for line in lines:
        if line.startswith("a=crypto:") and f" {SUITE} " in line:
            tag, _, rest = line.removeprefix("a=crypto:").partition(" ")
            return (address, port), (tag, rest.partition("inline:")[2].split("|")[0].split()[0])
    return (address, port), None


def ask(target, command, **arguments):
    cookie = os.urandom(6).hex()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.settimeout(10)
        link.connect(tuple(target))
        link.send(voip_ng.request(cookie, command, **arguments))
        return voip_ng.reply(link.recv(65535), cookie)


def new_key():
    return base64.b64encode(os.urandom(30)).decode()


def talk(ends, first, packets, rest_s=0.5):
    """Both send a packet every 20 ms; what comes is taken at once, and for `rest_s` more."""
    by_socket = {end.socket: end for end in ends}
    start = time.monotonic()
    for number in range(1, packets + 1):
        for end in ends:
            end.send(first + number)
        _take(by_socket, start + number * INTERVAL_S)
    _take(by_socket, time.monotonic() + rest_s)


def warm_up(target, call_id, ends, most):
    """Talk until the daemon has handed both streams to the kernel, which it does after some three
    seconds, or `most` packets are sent. Returns how many were.
    """
    sent = 0
    while sent < most and kernelized(ask(target, "query", call_id=call_id)) < len(ends):
        talk(ends, sent, CHUNK, rest_s=0)
        sent += CHUNK
    return sent


def settled(target, before, packets):
    """The daemon's counters once they hold `packets` more than before, or after SETTLE_S."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        after = counters(target)
        if sum(after.values()) >= sum(before.values()) + packets or time.monotonic() > deadline:
            return after
        time.sleep(LOOK_S)


def _take(by_socket, deadline):
    while True:
        left = max(0.0, deadline - time.monotonic())
        ready, _, _ = select.select(list(by_socket), [], [], left)
        if not ready:
            return
        for item in ready:
            by_socket[item].receive()


def call(order):
    """One call between the namespaces. Returns what is printed."""
    target, table = order["ng"], order.get("table", 0)
    call_id = f"kernel-{os.getpid()}@test"
    key = new_key()
    outside = End("outside", order["outside"], 0x11111111, Clear())
    inside = End("inside", order["inside"], 0x22222222, Srtp(key))
    common = {
        "call_id": call_id,
        "from_tag": "a",
        "flags": ["strict-source", *voip_ng.refused_suites([SUITE])],
    }
    offer = ask(
        target, "offer", sdp=sdp(outside, "RTP/AVP"), direction=["external", "internal"],
        ICE="remove", transport_protocol="RTP/SAVP", **common,
    )  # fmt: skip
    inside.remote, (tag, theirs) = read_sdp(offer["sdp"])
    inside.incoming = Srtp(theirs)
    answer = ask(
        target, "answer", sdp=sdp(inside, "RTP/SAVP", key, tag), to_tag="b",
        direction=["internal", "external"], ICE="remove", **common,
    )  # fmt: skip
    outside.remote, _ = read_sdp(answer["sdp"])
    outside.incoming = Clear()
    ends = [outside, inside]
    begun = counters(target)
    # The first packets teach the daemon where the ends are.
    warmed = warm_up(target, call_id, ends, order.get("warm", 0))
    before, listed = settled(target, begun, 2 * warmed), listed_packets(table)
    talk(ends, warmed, 0)  # takes what is still on its way
    for end in ends:
        end.sent = end.received = end.wrong = 0
    talk(ends, warmed, order["packets"])
    after = settled(target, before, 2 * order["packets"])
    query = ask(target, "query", call_id=call_id)
    found = {
        "outside": outside.report(),
        "inside": inside.report(),
        "legs": voip_ng.legs(query),
        "kernelized": kernelized(query),
        "in_kernel": in_kernel(table),
        "relayed": {name: after[name] - before[name] for name in after},
        "listed": listed_packets(table) - listed,
        "targets": targets(table),
    }
    ask(target, "delete", call_id=call_id, from_tag="a", delete_delay=0)
    return found


def kernelized(query):
    """How many of the call's RTP streams the daemon has handed to the kernel."""
    return sum(
        {"RTP", "kernelized"} <= set(stream.get("flags", []))
        for tag in query["tags"].values()
        for media in tag["medias"]
        for stream in media["streams"]
    )


def counters(target):
    """Packets that the daemon relayed since its start, by path."""
    totals = ask(target, "statistics")["statistics"]["totalstatistics"]
    return {path: totals[f"relayedpackets_{path}"] for path in ("user", "kernel")}


def listed_packets(table):
    """Packets that the module has counted for the streams that it forwards now."""
    return sum(map(int, re.findall(r"stats:.*?(\d+) packets", targets(table))))


def in_kernel(table):
    """How many streams the module forwards now, as `rtpengine_module.status` finds it."""
    try:
        return voip_kernel.targets(Path(f"/proc/rtpengine/{table}/status").read_text())[0]
    except OSError:
        return 0


def targets(table):
    """The module's list of streams, without the keys that it shows; "" without a table."""
    try:
        lines = Path(f"/proc/rtpengine/{table}/list").read_text().splitlines()
    except OSError:
        return ""
    return "\n".join(line for line in lines if not _SECRET.match(line))


if __name__ == "__main__":
    print(json.dumps(call(json.loads(sys.argv[1]))))
