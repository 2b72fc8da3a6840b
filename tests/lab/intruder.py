"""The stranger outside: sends what is not his to the media ports, and tells what came back.

Runs in the outside guest on standard input; one JSON argument, one JSON answer. Standard library.

  inject  media, port: RTPEngine's end; victim, victim_port: the phone's; stranger: an address that
          is not the phone's; count: packets of wrong source in all, a quarter of each kind
  sweep   media, first, last, stranger: one packet to every port
Addresses are all of one family, IPv4 or IPv6.
Both end with `listen_s` of silence. The answer: {"sent", "received", "own": spoofed packets}.
"""

import json
import os
import select
import socket
import struct
import sys
import time

BURST = 20
PAUSE_S = 0.008
OWN = 500


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def packed(address):
    return socket.inet_pton(family(address), address)


def bound(address, port=0):
    link = socket.socket(family(address), socket.SOCK_DGRAM)
    link.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    link.bind((address, port))
    return link


def captured(order, wanted=25, seconds=3.0):
    """Genuine SRTP packets of the phone, from the wire."""
    found, end = [], time.monotonic() + seconds
    flow = (packed(order["victim"]), packed(order["media"]), order["victim_port"], order["port"])
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0003)) as wire:
        wire.settimeout(seconds)
        while len(found) < wanted and time.monotonic() < end:
            seen, payload = datagram(wire.recv(4096))
            if seen == flow:
                found.append(payload)
    if not found:
        raise SystemExit("no packet of the phone was seen")
    return found


def datagram(data):
    """((source, destination, their ports), payload) of a UDP packet, (None, b"") of any other."""
    if data[0] >> 4 == 4:
        kind, head, ends = data[9], (data[0] & 15) * 4, (data[12:16], data[16:20])
    else:
        kind, head, ends = data[6], 40, (data[8:24], data[24:40])
    if kind != socket.IPPROTO_UDP or len(data) < head + 8:
        return None, b""
    return ends + struct.unpack_from("!HH", data, head), data[head + 8 :]


def forged(genuine, number):
    """Like the next packet of the phone (SSRC, payload type, sequence), without its key."""
    first, kind, sequence, stamp, source = struct.unpack_from("!BBHII", genuine)
    sequence, stamp = (sequence + 1 + number) % 65536, (stamp + 160 * (1 + number)) % 2**32
    return struct.pack("!BBHII", first, kind, sequence, stamp, source) + os.urandom(170)


def claimed(order, source, payload):
    """An IP packet from `source` and the phone's port; the kernel does the rest of IPv4's head."""
    size = 8 + len(payload)
    ends, ports = packed(source) + packed(order["media"]), (order["victim_port"], order["port"])
    if family(source) == socket.AF_INET:
        head = struct.pack("!BBHHHBBH", 0x45, 0, 0, 0, 0, 64, 17, 0)
        return head + ends + struct.pack("!HHHH", *ports, size, 0) + payload
    # IPv6 has no packets without a checksum (RFC 8200, section 8.1).
    summed = ends + struct.pack("!IIHHHH", size, 17, *ports, size, 0) + payload
    udp = struct.pack("!HHHH", *ports, size, checksum(summed))
    return struct.pack("!IHBB", 6 << 28, size, 17, 64) + ends + udp + payload


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF or 0xFFFF


def inject(order):
    genuine = captured(order)
    elsewhere = bound(order["victim"])
    # The phone's own port is taken on this machine: what comes from it is made by hand, and what
    # comes back to it is seen on the wire.
    kind = family(order["media"])
    raw = socket.socket(kind, socket.SOCK_RAW, socket.IPPROTO_RAW)
    wire = socket.socket(kind, socket.SOCK_RAW, socket.IPPROTO_UDP)
    wire.bind((order["stranger"], 0))
    target, last, sent, own = (order["media"], order["port"]), genuine[-1], 0, 0
    for number in range(order["count"]):
        copy = genuine[number // 4 % len(genuine)]
        packet = forged(last, number) if number // 2 % 2 else copy
        if number % 2:
            elsewhere.sendto(packet, target)
        else:
            raw.sendto(claimed(order, order["stranger"], packet), (order["media"], 0))
        sent += 1
        if number % (order["count"] // OWN) == 0:
            raw.sendto(claimed(order, order["victim"], forged(last, number)), (order["media"], 0))
            own += 1
        if number % BURST == 0:
            time.sleep(PAUSE_S)
    return {"sent": sent, "own": own, "received": heard([wire, elsewhere], order)}


def sweep(order):
    stranger = bound(order["stranger"], 40000)
    sent = 0
    for port in range(order["first"], order["last"] + 1):
        packet = struct.pack("!BBHII", 128, 8, sent % 65536, 160 * sent, 7) + os.urandom(170)
        stranger.sendto(packet, (order["media"], port))
        sent += 1
        if sent % (2 * BURST) == 0:
            time.sleep(PAUSE_S)
    return {"sent": sent, "own": 0, "received": heard([stranger], order)}


def heard(links, order):
    """How many datagrams came to these sockets until it was quiet for `listen_s`."""
    count, end = 0, time.monotonic() + order["listen_s"]
    while (left := end - time.monotonic()) > 0:
        for link in select.select(links, [], [], left)[0]:
            link.recv(4096)
            count += 1
    return count


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    print(json.dumps({"inject": inject, "sweep": sweep}[given["do"]](given)))
