"""SRTP calls at rising levels through relays side by side: what is lost, how even it arrives.

    python levels.py '{"relays": {name: {"ng": [address, port], "flags": [], "rule": []}}, ...}'

For each level (calls at once, two SRTP streams each) and each relay: a burst in the kernel, and one
in user space, where the rule that hands packets to the module is gone. Each is announced on the
console, where the host reads qemu's CPU time. Prints one JSON object: {"straight 10": burst,
"<relay> <path> <calls>": burst}, burst as load.py's with "jitter_ms" (RFC 3550, section 6.4.1).

seconds: how long a burst is. A path of a relay that has lost more than `most_lost` (a fraction) is
not tried at the next level.
"""

import json
import socket
import struct
import sys

from load import burst, by, connect, hang_up, straight_ends, warm
from media import INTERVAL_S

SO_TIMESTAMPNS = 35


class Arrivals:
    """Takes what has come to sockets, and how evenly, by the kernel's time of arrival."""

    def __init__(self, sockets):
        self.sockets = sockets
        self.last = {}
        self.jitter = {}
        for item in sockets:
            item.setblocking(False)
            item.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)

    def take(self):
        count = 0
        for item in self.sockets:
            while True:
                try:
                    data, extra, _, _ = item.recvmsg(2048, 64)
                except BlockingIOError:
                    break
                self._note(item, data, extra)
                count += 1
        return count

    def _note(self, item, data, extra):
        seconds, nanoseconds = struct.unpack("ll", extra[0][2][:16])
        (sequence,) = struct.unpack_from("!H", data, 2)
        transit = seconds + nanoseconds / 1e9 - sequence * INTERVAL_S
        if item in self.last:
            difference = abs(transit - self.last[item])
            known = self.jitter.get(item, 0.0)
            self.jitter[item] = known + (difference - known) / 16
        self.last[item] = transit

    def mean_ms(self):
        """The streams' mean jitter, in ms."""
        return sum(self.jitter.values()) / max(1, len(self.jitter)) * 1000


def measured(order, name, ng, streams, sockets):
    arrivals = Arrivals(sockets)
    found = burst(order | {"ng": ng}, name, streams, arrivals.take)
    return found | {"jitter_ms": arrivals.mean_ms()}


def calls_through(order, relay, count, prefix):
    """`count` calls, up and warm: their streams and their names."""
    streams, names = [], []
    for number in range(count):
        ends, name = connect(order | relay, "srtp", f"{prefix}-{number}", 2 * number)
        streams += ends
        names.append(name)
    warm(relay["ng"], streams, Arrivals([stream.socket for stream in streams]).take)
    return streams, names


def main(order):
    found, given_up = {}, set()
    for count in order["levels"]:
        first = next(iter(order["relays"].values()))
        streams, sockets = straight_ends(order, count)
        name = f"straight {count}"
        found[name] = measured(order, name, first["ng"], streams, sockets)
        for relay_name, relay in order["relays"].items():
            wanted = [path for path in order["paths"] if (relay_name, path) not in given_up]
            if not wanted:
                continue
            streams, names = calls_through(order, relay, count, f"{relay_name}-{count}")
            for path in wanted:
                name = f"{relay_name} {path} {count}"
                with by(path, relay["rule"]):
                    sockets = [stream.socket for stream in streams]
                    found[name] = measured(order, name, relay["ng"], streams, sockets)
                lost = 1 - found[name]["received"] / found[name]["sent"]
                if lost > order["most_lost"]:
                    given_up.add((relay_name, path))
            hang_up(relay["ng"], names)
            for stream in streams:
                stream.socket.close()
    return found


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
