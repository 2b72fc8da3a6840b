"""Runs in a guest or in the lab's namespace (standard library only): one packet to every port.

Arguments: JSON {interface, source, target, next_hop}. Sends a TCP SYN and an empty UDP datagram to
each of the ports 1-65535 of target, as raw frames: the sender's own firewall, connection tracking
and routing have no say, so what arrives tests the target alone. Prints the number of frames sent.
"""

import fcntl
import json
import socket
import struct
import sys
import time

ETHERTYPE_IPV4 = 0x0800
# Outside of the kernel's range for clients: no other traffic has it.
SOURCE_PORT = 61111
SIOCGIFHWADDR = 0x8927
TCP_SYN = 0x02
# A pause after so many frames lets the receiver's queue (1000 by default) drain.
BURST, PAUSE_S = 400, 0.002


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def own_mac(interface):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        request = struct.pack("256s", interface.encode())
        return fcntl.ioctl(probe.fileno(), SIOCGIFHWADDR, request)[18:24]


def mac_of(address, interface):
    """The hardware address of a neighbour. A ping makes the kernel ask: every host lets it out."""
    body = struct.pack("!BBHHH", 8, 0, 0, 1, 1)
    ping = body[:2] + struct.pack("!H", checksum(body)) + body[4:]
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
            probe.sendto(ping, (address, 0))
        with open("/proc/net/arp") as table:
            for line in table:
                fields = line.split()
                complete = fields[2] == "0x2" and fields[3] != "00:00:00:00:00:00"
                if fields[0] == address and fields[5] == interface and complete:
                    return bytes.fromhex(fields[3].replace(":", ""))
        time.sleep(0.05)
    sys.exit(f"no answer from {address} on {interface}: it has no neighbour of that address")


def ip_header(source, target, protocol, length):
    head = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + length, 0, 0x4000, 64, protocol, 0, source, target
    )
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:]


def tcp_syn(source, target, port):
    head = struct.pack("!HHIIBBHHH", SOURCE_PORT, port, 1, 0, 5 << 4, TCP_SYN, 1024, 0, 0)
    pseudo = source + target + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(head))
    return head[:16] + struct.pack("!H", checksum(pseudo + head)) + head[18:]


def main(task):
    interface = task["interface"]
    source, target = (socket.inet_aton(task[name]) for name in ("source", "target"))
    ethernet = mac_of(task["next_hop"], interface) + own_mac(interface)
    ethernet += struct.pack("!H", ETHERTYPE_IPV4)
    tcp_head = ethernet + ip_header(source, target, socket.IPPROTO_TCP, 20)
    udp_head = ethernet + ip_header(source, target, socket.IPPROTO_UDP, 8)
    sent = 0
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind((interface, 0))
        for port in range(1, 65536):
            wire.send(tcp_head + tcp_syn(source, target, port))
            # A zero checksum means "none" (RFC 768).
            wire.send(udp_head + struct.pack("!HHHH", SOURCE_PORT, port, 8, 0))
            sent += 2
            if sent % BURST == 0:
                time.sleep(PAUSE_S)
    print(sent)


main(json.loads(sys.argv[1]))
