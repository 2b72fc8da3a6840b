"""A stand-in for limactl: keeps guests and networks in $FAKE_LIMA, answers in Lima's JSON forms.

Every call is appended to calls.json. A command named in fail.json ends with its message, as
limactl does: a level=fatal line on standard error and exit code 1.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

HOME = Path(os.environ["FAKE_LIMA"])


def read(name, default):
    path = HOME / name
    return json.loads(path.read_text()) if path.exists() else default


def write(name, value):
    (HOME / name).write_text(json.dumps(value))


def option(arguments, name):
    for index, argument in enumerate(arguments):
        if argument == name:
            return arguments[index + 1]
        if argument.startswith(f"{name}="):
            return argument.partition("=")[2]
    return None


def main(arguments):
    write("calls.json", [*read("calls.json", []), arguments])
    guests, networks = read("guests.json", {}), read("networks.json", {})
    verb = " ".join(arguments[:2]) if arguments[0] == "network" else arguments[0]
    if verb in (failures := read("fail.json", {})):
        print(f'time="2026-01-01T00:00:00Z" level=fatal msg="{failures[verb]}"', file=sys.stderr)
        return 1
    if verb == "--version":
        print("limactl version 2.2.0")
    elif verb == "list":
        for guest in guests.values():
            print(json.dumps(guest))
    elif verb == "network list":
        for name, network in networks.items():
            print(json.dumps({"name": name} | network))
    elif verb == "network create":
        gateway = option(arguments, "--gateway")
        network = {"mode": option(arguments, "--mode")}
        if gateway:
            network |= {"gateway": gateway.partition("/")[0], "netmask": "255.255.255.0"}
        else:
            network["interface"] = option(arguments, "--interface")
        write("networks.json", networks | {arguments[2]: network})
    elif verb == "create":
        name = option(arguments, "--name")
        guest = read("instance.json", {}) | {"name": name, "hostname": f"lima-{name}"}
        write("guests.json", guests | {name: guest | {"status": "Stopped"}})
        (HOME / f"{name}.yaml").write_text(Path(arguments[-1]).read_text())
    elif verb in ("start", "stop"):
        guests[arguments[-1]]["status"] = "Running" if verb == "start" else "Stopped"
        write("guests.json", guests)
    elif verb == "delete":
        guests.pop(arguments[-1])
        write("guests.json", guests)
    elif verb == "shell":
        # The words after `sudo --` run here: a stand-in for the guest.
        words = arguments[arguments.index("--") + 1 :]
        if read("shell.json", True):
            return subprocess.run(words, check=False).returncode
    else:
        print(f'level=fatal msg="unknown command {verb}"', file=sys.stderr)
        return 1
    return 0


sys.exit(main(sys.argv[1:]))
