"""Runs in a guest or in the lab's namespace (standard library only): one packet to every port.

Arguments: JSON {interface, source, target, next_hop}, of IPv4 or of IPv6. Sends a TCP SYN and an
empty UDP datagram to each of the ports 1-65535 of target, as raw frames: the sender's own firewall,
connection tracking and routing have no say, so what arrives tests the target alone. Prints the
number of frames sent.
"""

import fcntl
import json
import socket
import struct
import subprocess
import sys
import time

ETHERTYPES = {4: 0x0800, 6: 0x86DD}
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
    asked = mac_by_ipv6 if ":" in address else mac_by_ipv4
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if found := asked(address, interface):
            return bytes.fromhex(found.replace(":", ""))
        time.sleep(0.05)
    sys.exit(f"no answer from {address} on {interface}: it has no neighbour of that address")


def mac_by_ipv4(address, interface):
    body = struct.pack("!BBHHH", 8, 0, 0, 1, 1)
    ping = body[:2] + struct.pack("!H", checksum(body)) + body[4:]
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        probe.sendto(ping, (address, 0))
    with open("/proc/net/arp") as table:
        for line in table:
            fields = line.split()
            complete = fields[2] == "0x2" and fields[3] != "00:00:00:00:00:00"
            if fields[0] == address and fields[5] == interface and complete:
                return fields[3]
    return None


def mac_by_ipv6(address, interface):
    # The kernel fills in the checksum of ICMPv6 (RFC 3542).
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as probe:
        scope = socket.if_nametoindex(interface)
        probe.sendto(struct.pack("!BBHHH", 128, 0, 0, 1, 1), (address, 0, 0, scope))
    argv = ["ip", "-6", "neighbour", "show", address, "dev", interface]
    words = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()
    return words[words.index("lladdr") + 1] if "lladdr" in words else None


def ip_header(source, target, protocol, length):
    if len(source) == 16:
        return struct.pack("!IHBB16s16s", 6 << 28, length, protocol, 64, source, target)
    head = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + length, 0, 0x4000, 64, protocol, 0, source, target
    )
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:]


def pseudo_header(source, target, protocol, length):
    """What a checksum covers beside the segment itself (RFC 9293, RFC 8200)."""
    if len(source) == 16:
        return source + target + struct.pack("!IHBB", length, 0, 0, protocol)
    return source + target + struct.pack("!BBH", 0, protocol, length)


def tcp_syn(source, target, port):
    head = struct.pack("!HHIIBBHHH", SOURCE_PORT, port, 1, 0, 5 << 4, TCP_SYN, 1024, 0, 0)
    pseudo = pseudo_header(source, target, socket.IPPROTO_TCP, len(head))
    return head[:16] + struct.pack("!H", checksum(pseudo + head)) + head[18:]


def empty_datagram(source, target, port):
    head = struct.pack("!HHHH", SOURCE_PORT, port, 8, 0)
    if len(source) == 4:
        return head  # a zero checksum means "none" (RFC 768)
    pseudo = pseudo_header(source, target, socket.IPPROTO_UDP, len(head))
    return head[:6] + struct.pack("!H", checksum(pseudo + head) or 0xFFFF)


def main(task):
    interface = task["interface"]
    version = 6 if ":" in task["target"] else 4
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    source, target = (socket.inet_pton(family, task[name]) for name in ("source", "target"))
    ethernet = mac_of(task["next_hop"], interface) + own_mac(interface)
    ethernet += struct.pack("!H", ETHERTYPES[version])
    tcp_head = ethernet + ip_header(source, target, socket.IPPROTO_TCP, 20)
    udp_head = ethernet + ip_header(source, target, socket.IPPROTO_UDP, 8)
    sent = 0
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind((interface, 0))
        for port in range(1, 65536):
            wire.send(tcp_head + tcp_syn(source, target, port))
            wire.send(udp_head + empty_datagram(source, target, port))
            sent += 2
            if sent % BURST == 0:
                time.sleep(PAUSE_S)
    print(sent)


main(json.loads(sys.argv[1]))
