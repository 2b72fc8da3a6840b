"""Tell keepalived which relay on this host is dead: it then goes to another host with its calls.

A relay whose addresses are here must answer its control protocol. One that does not for
`dead_after_s` gets a 1 in its file, which keepalived tracks, until the addresses are gone, and a
little longer: so that another host has its turn. `relay_watch.py SETTINGS`, a JSON file:

  relays        [{name, address, port}]: control protocol of each relay that may be here
  directory     where the files NAME.dead are
  every_s       between two questions
  dead_after_s  without an answer
  start_s       what a relay that has just come here may need to start
"""

import json
import secrets
import socket
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from voip_relays import is_here

ANSWER_S = 1.0  # a busy machine answers late; a dead daemon's port refuses at once
TURN_S = 10  # another host's, before a relay that died here may come back


def answers(address, port, timeout_s=ANSWER_S):
    """Return True when the relay says pong (docs/ng_control_protocol.md of RTPEngine)."""
    cookie = secrets.token_hex(8).encode()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.settimeout(timeout_s)
        try:
            # Connected: a closed port answers at once.
            link.connect((address, port))
            link.send(cookie + b" d7:command4:pinge")
            return link.recv(4096) == cookie + b" d6:result4:ponge"
        except OSError:
            return False


class Watch:
    """One relay's verdict, from what was seen at the times that it is given (seconds)."""

    def __init__(self, dead_after_s, start_s):
        self.dead_after_s, self.start_s = dead_after_s, start_s
        self.patience_until = None  # None: it is not here
        self.dead_at = None

    def see(self, here, answered, now):
        """Return whether the relay is to go away. answered: only counts where it is here."""
        if self.dead_at is not None:
            if here or now - self.dead_at < TURN_S:
                return True
            self.dead_at = None
        if not here:
            self.patience_until = None
            return False
        if self.patience_until is None:
            self.patience_until = now + self.start_s
        elif answered:
            self.patience_until = now + self.dead_after_s
        elif now >= self.patience_until:
            self.dead_at, self.patience_until = now, None
            return True
        return False


def main(path):
    settings = json.loads(Path(path).read_text(encoding="utf-8"))
    directory = Path(settings["directory"])
    watches = {
        relay["name"]: Watch(settings["dead_after_s"], settings["start_s"])
        for relay in settings["relays"]
    }
    written = {}
    while True:
        for relay in settings["relays"]:
            here = is_here(relay["address"])
            answered = here and answers(relay["address"], relay["port"])
            dead = watches[relay["name"]].see(here, answered, time.monotonic())
            if written.get(relay["name"]) != dead:
                # keepalived watches the file itself: it is written, not replaced.
                (directory / f"{relay['name']}.dead").write_text(f"{int(dead)}\n")
                written[relay["name"]] = dead
                if dead:
                    print(f"relay {relay['name']} does not answer", file=sys.stderr, flush=True)
        time.sleep(settings["every_s"])


if __name__ == "__main__":
    main(sys.argv[1])
