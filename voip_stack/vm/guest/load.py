"""Many calls at once through RTPEngine, to see what a forwarded packet costs by either path.

    python load.py '{"ng": [address, port], "inside": ..., "outside": ..., "rule": [...], ...}'

Bursts of equal traffic: straight to a socket of the machine (what sending and receiving cost by
themselves), and through RTPEngine as RTP and as SRTP, in the kernel and, with the rule gone, in
user space. Each burst is announced on the console, where the host reads qemu's CPU time. Prints
one JSON object: {burst: {sent, received, user, kernel}}.

rule: what hands packets to the module, as iptables takes it after -D and -I. flags: RTPEngine's.
calls: how many at once, two streams each. seconds: how long a burst is. rounds: of all bursts, the
names of which end with its number. paths, profiles: as in cost.py.
"""

import json
import os
import struct
import subprocess
import sys
import time
from contextlib import contextmanager
from functools import partial

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from media import (
    INTERVAL_S,
    Clear,
    End,
    Srtp,
    ask,
    counters,
    new_key,
    payload,
    read_sdp,
    sdp,
    settled,
)  # fmt: skip

# Before the daemon hands streams to the kernel, see media.py.
WARM_S = 4
# After the announcement: a host with other work reads its clock a little later.
CALM_S = 0.3


class Stream(End):
    """An end whose packets are made beforehand: the burst pays for sending only."""

    number = 0

    def make(self, count):
        packets = [self._packet(self.number + index) for index in range(1, count + 1)]
        self.number += count
        if isinstance(self.outgoing, Srtp):
            packets = protect_all(self.outgoing, packets)
        self.ready = iter(packets)

    def _packet(self, sequence):
        head = struct.pack("!BBHII", 0x80, 8, sequence, sequence * 160, self.ssrc)
        return head + payload(self.ssrc, 0)


def protect_all(keys, packets):
    """As Srtp.protect for each, with one call of the cipher for all."""
    blocks = []
    for packet in packets:
        sequence, _, ssrc = struct.unpack_from("!HII", packet, 2)
        first = int.from_bytes(keys.salt + b"\0\0", "big") ^ (ssrc << 64) ^ (sequence << 16)
        blocks += [(first + number).to_bytes(16, "big") for number in range(10)]
    # Counter mode by hand: the counters of all packets at once.
    mode = modes.ECB()  # noqa: S305
    stream = Cipher(algorithms.AES(keys.key), mode).encryptor().update(b"".join(blocks))
    sealed = []
    for index, packet in enumerate(packets):
        mask = int.from_bytes(stream[index * 160 : index * 160 + 160], "big")
        body = (int.from_bytes(packet[12:], "big") ^ mask).to_bytes(160, "big")
        sealed.append(packet[:12] + body + keys.tag(packet[:12] + body))
    return sealed


def connect(order, profile, name, first_ssrc):
    """One call. Returns its two streams and its name.

    order: ng, the ends' addresses, and the flags that RTPEngine is asked with.
    """
    call_id = f"load-{os.getpid()}-{profile}-{name}@test"
    keys = [new_key(), new_key()] if profile == "srtp" else [None, None]
    outside, inside = (
        Stream(place, order[place], 0x10000000 + first_ssrc + index, Srtp(key) if key else Clear())
        for index, (place, key) in enumerate(zip(("outside", "inside"), keys, strict=True))
    )
    transport = order["profiles"][profile]
    common = {"call_id": call_id, "from_tag": "a", "flags": order["flags"], "ICE": "remove",
              "transport_protocol": transport}  # fmt: skip
    offer = ask(
        order["ng"], "offer", sdp=sdp(outside, transport, keys[0]),
        direction=["external", "internal"], **common,
    )  # fmt: skip
    inside.remote, crypto = read_sdp(offer["sdp"])
    answer = ask(
        order["ng"], "answer", sdp=sdp(inside, transport, keys[1], (crypto or "1")[0]),
        to_tag="b", direction=["internal", "external"], **common,
    )  # fmt: skip
    outside.remote, _ = read_sdp(answer["sdp"])
    return [outside, inside], call_id


def hang_up(ng, names):
    for call_id in names:
        ask(ng, "delete", call_id=call_id, from_tag="a", delete_delay=0)


def send(streams, seconds, take):
    """Every stream sends a packet each 20 ms: (sent, received).

    take: called in between, takes what has come and returns how many.
    """
    rounds = int(seconds / INTERVAL_S)
    start, sent, received = time.monotonic(), 0, 0
    for number in range(1, rounds + 1):
        for stream in streams:
            stream.socket.sendto(next(stream.ready), stream.remote)
        sent += len(streams)
        received += take()
        time.sleep(max(0.0, start + number * INTERVAL_S - time.monotonic()))
    time.sleep(INTERVAL_S)
    return sent, received + take()


def warm(ng, streams, take):
    """Have the daemon hand the streams to the kernel, and leave none of these packets behind."""
    for stream in streams:
        stream.make(int(WARM_S / INTERVAL_S))
    before = counters(ng)
    sent, _ = send(streams, WARM_S, take)
    settled(ng, before, sent)
    take()


def drain(sockets):
    """Take what has come to sockets that do not block; how many."""
    count = 0
    for item in sockets:
        while True:
            try:
                item.recv(2048)
            except BlockingIOError:
                break
            count += 1
    return count


def burst(order, name, streams, take):
    for stream in streams:
        stream.make(int(order["seconds"] / INTERVAL_S))
    before = counters(order["ng"])
    announce(f"{name} begins")
    time.sleep(CALM_S)
    sent, received = send(streams, order["seconds"], take)
    announce(f"{name} ends")
    forwarded = 0 if "straight" in name.split() else sent
    after = settled(order["ng"], before, forwarded)
    # What arrived late is this burst's, and not the next one's.
    received += take()
    return {"sent": sent, "received": received} | {key: after[key] - before[key] for key in after}


@contextmanager
def by(path, rule):
    """The rule is gone while packets are to go by user space."""
    if path == "user":
        subprocess.run(["iptables", "-w", "-D", *rule], check=True)
    try:
        yield
    finally:
        if path == "user":
            subprocess.run(["iptables", "-w", "-I", *rule], check=True)


def announce(text):
    with open("/dev/console", "w") as console:
        console.write(f"\nload: {text}\n")


def straight_ends(order, calls):
    """Streams from the same places, and the sockets that get them: nobody forwards."""
    streams, takers = [], []
    for number in range(2 * calls):
        place, home = (("outside", "external"), ("inside", "internal"))[number % 2]
        stream = Stream(place, order[place], number, Clear())
        sink = Stream(None, order["addresses"][home], number, Clear())
        sink.socket.setblocking(False)
        stream.remote = (sink.address, sink.port)
        streams.append(stream)
        takers.append(sink.socket)
    return streams, takers


def main(order):
    alone, takers = straight_ends(order, order["calls"])
    found, calls, names = {}, {}, []
    for profile in order["profiles"]:
        streams = []
        for number in range(order["calls"]):
            ends, call_id = connect(order, profile, str(number), 2 * number)
            streams += ends
            names.append(call_id)
        for stream in streams:
            stream.socket.setblocking(False)
        calls[profile] = (streams, partial(drain, [stream.socket for stream in streams]))
    everything = list(calls.values())
    warm(
        order["ng"], [stream for streams, _ in everything for stream in streams],
        lambda: sum(take() for _, take in everything),
    )  # fmt: skip
    for number in range(order["rounds"]):
        name = f"straight {number}"
        found[name] = burst(order, name, alone, partial(drain, takers))
        for path in order["paths"]:
            with by(path, order["rule"]):
                for profile, (streams, take) in calls.items():
                    name = f"{profile} {path} {number}"
                    found[name] = burst(order, name, streams, take)
    hang_up(order["ng"], names)
    return found


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
