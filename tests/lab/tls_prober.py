"""Verified TLS handshakes, over and over: the lab tests hand this file to `python3 -` in a guest.

Standard library only. Argument: {"targets": [{"address", "port", "name", "negotiation", "pair"}],
"directory", "every_s"}. Trusted is the root in directory/ca.crt and nothing else. pair: the
component whose certificate is shown where one is asked for. Until its standard input ends; then
{"done": {listener: handshakes}, "failures": [[epoch, listener, reason], ...]}.
"""

import contextlib
import json
import os
import socket
import ssl
import struct
import sys
import threading
import time

TIMEOUT_S = 10  # on a busy machine; a refusal comes at once
SETTLE_S = 0.05


def main(targets, directory, every_s):
    over = threading.Event()
    report = {"done": {}, "failures": []}
    threads = [
        threading.Thread(target=watch, args=(target, directory, every_s, over, report))
        for target in targets
    ]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    over.set()
    for thread in threads:
        thread.join()
    return report


def watch(target, directory, every_s, over, report):
    where = f"{target['name']} {target['address']}:{target['port']}"
    while not over.wait(every_s):
        try:
            shake(target, directory)
            report["done"][where] = report["done"].get(where, 0) + 1
        except OSError as err:
            report["failures"].append([time.time(), where, f"{type(err).__name__}: {err}"])


def shake(target, directory):
    """One handshake; raises OSError. Of TLS 1.3 a refusal of our certificate comes after it."""
    context = context_of(directory, target["pair"])
    with socket.create_connection((target["address"], target["port"]), TIMEOUT_S) as plain:
        if target["negotiation"] == "postgresql":
            plain.sendall(struct.pack("!ii", 8, 80877103))
            if plain.recv(1) != b"S":
                raise ConnectionError("no TLS is offered")
        with context.wrap_socket(plain, server_hostname=target["name"]) as link:
            link.settimeout(SETTLE_S)
            with contextlib.suppress(TimeoutError):
                link.recv(1)


def context_of(directory, component):
    """Certificate and key of one generation, however often that is replaced meanwhile."""
    for _ in range(5):
        generation = os.path.realpath(f"{directory}/{component}.d")
        with contextlib.suppress(FileNotFoundError):
            context = ssl.create_default_context(cafile=f"{directory}/ca.crt")
            context.load_cert_chain(f"{generation}/cert.pem", f"{generation}/key.pem")
            return context
    raise OSError(f"there is no pair of {component}")


if __name__ == "__main__":
    print(json.dumps(main(**json.loads(sys.argv[1]))))
