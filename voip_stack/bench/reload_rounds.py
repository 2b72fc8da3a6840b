"""A program for a guest: replace a SIP daemon's certificate over and over under its clients.

Run by `bench reloads` with the minion's Python, its text on standard input after a line
`ORDER = {...}`: {"component", "unit", "probe" (see voip_probe_sip), "rounds", "clients", "every_s",
"timeout_s"}. Each round puts the other one of two pairs in use, both signed by the
platform's PKI, has the daemon reload and waits until every listener shows it: what a renewal does,
but for the signature, so that 200 rounds leave two certificates in the Vault and not 200.

Prints {"round", "memory_kib"} now and then, at last {"seconds" (of each reload with its proof),
"sent", "answered", "dropped" (connections), "reasons", "memory_kib": [[round, KiB], ...], "before",
"after": {"pid", "restarts", "memory_kib"}}. Memory: the proportional set size of all processes of
the unit. Ends with one pair in use, as it began.
"""

import contextlib
import json
import pathlib
import subprocess
import sys
import threading
import time

sys.path.insert(0, "/var/cache/salt/minion/extmods/utils")

import salt.client
import voip_generations
import voip_handshake
import voip_probe_link
import voip_probe_sip
import voip_unit

ORDER: dict = globals().get("ORDER", {})
MINION = "/etc/salt/minion"
MEASURE_EVERY = 5
REASONS_KEPT = 10


class Client(threading.Thread):
    """One TLS connection, on which an OPTIONS is sent again and again."""

    def __init__(self, order, stop):
        super().__init__(daemon=True)
        self.order, self.stop = order, stop
        self.sent = self.answered = 0
        self.problem = ""
        self.is_dropped = False
        self.buffer = b""

    def run(self):
        where = {key: value for key, value in self.order["probe"].items() if key != "kind"}
        domain = where.pop("domain")
        try:
            with voip_probe_link.tls(timeout_s=self.order["timeout_s"], **where) as link:
                while not self.stop.is_set():
                    self.ask(link, where["address"], domain)
                    self.stop.wait(self.order["every_s"])
        except TimeoutError:
            self.problem = f"no answer within {self.order['timeout_s']} s"
        except Exception as err:  # a thread that ends without a word would look like no trouble
            self.is_dropped = True
            self.problem = f"{type(err).__name__}: {err}"

    def ask(self, link, address, domain):
        self.sent += 1
        link.sendall(voip_probe_sip.request(address, link.getsockname()[1], domain))
        code = voip_probe_sip.status(self.receive(link))
        if code >= 500:
            self.problem = f"answered {code}"
        else:
            self.answered += 1

    def receive(self, link):
        """The next message's head, behind what keeps a connection alive (RFC 5626, section 3.5.1).

        A reply to OPTIONS without a Content-Length of 0 would be read wrong, and counted so.
        """
        while b"\r\n\r\n" not in self.buffer.lstrip(b"\r\n"):
            data = link.recv(4096)
            if not data:
                raise ConnectionError("closed by the daemon")
            self.buffer += data
        head, _, self.buffer = self.buffer.lstrip(b"\r\n").partition(b"\r\n\r\n")
        return head


def facts(unit):
    """What systemd says of the unit, and its processes' memory in KiB."""
    names = "MainPID,NRestarts,ControlGroup"
    argv = ["systemctl", "show", "--property", names, unit]
    text = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {
        "pid": int(values["MainPID"]),
        "restarts": int(values["NRestarts"]),
        "memory_kib": sum(pss(pid) for pid in voip_unit.processes(values["ControlGroup"])),
    }


def pss(pid):
    """KiB of a process, what it shares divided among those who share it; 0 when it is gone."""
    with contextlib.suppress(OSError):
        for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0


class Pairs:
    """Two real pairs of one component, in use by turns."""

    def __init__(self, name):
        self.name = name
        self.call = salt.client.Caller(MINION).cmd
        self.directory = self.call("voip_pki.directory")
        former = self._text(voip_generations.current(self.directory, name))
        self.call("voip_pki.renew", name)
        # The renewal removed the former pair, which is good all the same: it comes back beside.
        used = voip_generations.current(self.directory, name)
        key = pathlib.Path(self.directory, used, "key.pem").stat()
        chain, key_pem = former
        kept = voip_generations.put(
            self.directory, name, "0", chain, key_pem, key.st_mode & 0o7777, key.st_gid
        )
        self.by_turns = [(kept, chain), (used, self._text(used)[0])]

    def swap(self):
        """Put the other pair in use and have the daemon show it. Returns the seconds."""
        self.by_turns.reverse()
        generation, chain = self.by_turns[1]
        voip_generations.use(self.directory, self.name, generation)
        return self.call("voip_tls.prove", self.name, voip_handshake.fingerprint(chain))

    def settle(self):
        """Back to one pair, the newer one."""
        while self.by_turns[1][0].endswith(".0"):
            self.swap()
        voip_generations.drop(self.directory, [self.by_turns[0][0]])

    def _text(self, generation):
        folder = pathlib.Path(self.directory, generation)
        return (folder / "cert.pem").read_text(), (folder / "key.pem").read_text()


def measure(order, pairs, stop):
    """All rounds, with the clients connected. Returns what is to be printed."""
    clients = [Client(order, stop) for _ in range(order["clients"])]
    for client in clients:
        client.start()
    time.sleep(2 * order["every_s"])
    before = facts(order["unit"])
    seconds, memory = [], []
    for number in range(1, order["rounds"] + 1):
        seconds.append(pairs.swap())
        if number % MEASURE_EVERY == 0:
            memory.append([number, facts(order["unit"])["memory_kib"]])
            print(json.dumps({"round": number, "memory_kib": memory[-1][1]}), flush=True)
    after = facts(order["unit"])
    stop.set()
    for client in clients:
        client.join(order["timeout_s"] + 1)
    reasons = [client.problem for client in clients if client.problem]
    return {
        "seconds": seconds,
        "sent": sum(client.sent for client in clients),
        "answered": sum(client.answered for client in clients),
        "dropped": sum(client.is_dropped for client in clients),
        "reasons": reasons[:REASONS_KEPT],
        "memory_kib": memory,
        "before": before,
        "after": after,
    }


def main(order):
    pairs, stop = Pairs(order["component"]), threading.Event()
    # Nobody else replaces it meanwhile: these reloads are the only ones.
    with voip_generations.locked(pairs.directory, pairs.name):
        try:
            print(json.dumps(measure(order, pairs, stop)), flush=True)
        finally:
            stop.set()
            pairs.settle()


if ORDER:
    main(ORDER)
