"""The firewall's module and state with the real nft, in a network namespace of the test's own."""

import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError

CHECKOUT = Path(__file__).parents[2]
sys.path.insert(0, str(CHECKOUT / "_utils"))

DECLARED = {
    "rules": [
        {"name": "a/tcp", "interface": "eth0", "proto": "tcp", "ports": "5071", "sources": []}
    ],
    "addresses": {"eth0": ["192.168.64.10"]},
    "networks": {"eth0": "192.168.64.0/24"},
}


def _module(kind):
    path = CHECKOUT / kind / "voip_firewall.py"
    spec = importlib.util.spec_from_file_location(f"functional{kind}_firewall", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def namespace():
    """A network namespace with a loopback, gone after the test."""
    name = f"voip-test-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
    yield name
    subprocess.run(["ip", "netns", "del", name], check=True)


@pytest.fixture
def firewall(namespace):
    """The execution module; its commands run inside the namespace."""
    module = _module("_modules")
    plain = module._run
    enter = ["nsenter", f"--net=/run/netns/{namespace}"]
    module._run = lambda argv, text=None: plain([*enter, *argv], text)
    return module


@pytest.fixture
def state(firewall):
    module = _module("_states")
    module.__salt__ = {
        f"voip_firewall.{name}": getattr(firewall, name)
        for name in ("ruleset", "expected", "live", "saved", "swap", "write")
    }
    module.__opts__ = {"test": False}
    return module


def run(state, path, test=False, **changed):
    state.__opts__["test"] = test
    return state.managed(str(path), **(DECLARED | changed))


def test_apply_predict_repeat(state, firewall, tmp_path):
    path = tmp_path / "nftables.d" / "voip.nft"
    predicted = run(state, path, test=True)
    assert predicted["result"] is None
    assert firewall.live() == ""
    assert not path.exists()

    done = run(state, path)
    assert done["result"] is True, done["comment"]
    assert done["changes"] == predicted["changes"]
    assert "dport 5071 accept" in firewall.live()
    assert path.stat().st_mode & 0o777 == 0o640

    assert run(state, path)["changes"] == {}


def test_rules_changed_by_hand_are_put_back(state, firewall, namespace, tmp_path):
    path = tmp_path / "voip.nft"
    run(state, path)
    wanted = firewall.live()
    by_hand = "insert rule inet voip input tcp dport 23 accept"
    subprocess.run(["ip", "netns", "exec", namespace, "nft", by_hand], check=True)
    path.write_text("table inet voip { }\n")

    done = run(state, path)
    assert "tcp dport 23 accept" in done["changes"]["live"]["removed"]
    assert set(done["changes"]) == {"live", "file"}
    assert firewall.live() == wanted


def test_tables_of_others_stay(state, namespace, tmp_path):
    nft = ["ip", "netns", "exec", namespace, "nft"]
    subprocess.run([*nft, "add table ip other"], check=True)
    run(state, tmp_path / "voip.nft")
    run(state, tmp_path / "voip.nft", rules=[])
    tables = subprocess.run([*nft, "list", "tables"], check=True, capture_output=True, text=True)
    assert tables.stdout.splitlines() == ["table ip other", "table inet voip"]


def test_the_rules_file_loads_at_boot_and_again(firewall, state, tmp_path):
    path = tmp_path / "voip.nft"
    run(state, path)
    wanted = firewall.live()
    for _ in range(2):
        firewall.load(path.read_text())
    assert firewall.live() == wanted


def test_refused_rules_leave_the_loaded_ones(state, firewall, tmp_path):
    run(state, tmp_path / "voip.nft")
    before = firewall.live()
    # nft takes at most 15 characters for an interface: the kernel's refusal, not ours.
    bad = [DECLARED["rules"][0] | {"interface": "an-interface-too-long"}]
    ret = run(
        state,
        tmp_path / "voip.nft",
        rules=bad,
        addresses={"an-interface-too-long": ["192.168.64.10"]},
    )
    assert ret["result"] is False
    assert ret["changes"] == {}
    assert firewall.live() == before


# A connection to a listener of its own, over the loopback: the seconds until it is open.
CONNECT = """
import socket, time
with socket.create_server(("127.0.0.1", 7000)):
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", 7000), 15):
        print(time.monotonic() - began)
"""


@pytest.fixture
def connecting(namespace):
    """connecting() -> a process that connects inside the namespace."""

    def start():
        argv = ["ip", "netns", "exec", namespace, sys.executable, "-c", CONNECT]
        return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)

    return start


def test_who_connects_while_it_is_held_comes_later(firewall, connecting):
    firewall.hold([7000, 7001])
    with connecting() as held:
        time.sleep(0.5)
        firewall.release()
        assert 0.9 < float(held.communicate(timeout=20)[0]) < 8
    firewall.release()  # fine when there is none
    with connecting() as free:
        assert float(free.communicate(timeout=20)[0]) < 0.9


def test_a_hold_that_nobody_ends_ends_by_itself(firewall, connecting):
    firewall.hold([7000])
    firewall.hold([7000], timeout_s=1)  # again: in place of the former
    with connecting() as held:
        assert 0.9 < float(held.communicate(timeout=20)[0]) < 8


def test_rules_that_cut_the_master_are_taken_back(firewall):
    """The master is asked before and after; here it stops answering when rules are loaded."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_accept, args=(server,), daemon=True).start()
        address = server.getsockname()
        firewall.load(firewall.ruleset(**DECLARED))
        before = firewall.live()
        plain = firewall.load

        def load(text):
            plain(text)
            firewall.reaches = lambda *_: False

        firewall.load = load
        with pytest.raises(CommandExecutionError, match="former ones are back"):
            firewall.swap(firewall.ruleset(**(DECLARED | {"egress": []})), [address])
    assert firewall.live() == before
    assert "chain output" not in before


def _accept(server):
    try:
        while True:
            server.accept()[0].close()
    except OSError:
        return


# -------------------------------------------------------------------- connections of a source

LIMITED = {
    "rules": [
        {"name": "a/tcp", "interface": "eth0", "proto": "tcp", "ports": "5071", "sources": []}
    ],
    "addresses": {"eth0": ["192.168.64.10", "fd64::10"]},
    "networks": {"eth0": ["192.168.64.0/24", "fd64::/48"]},
    "connections": {
        "interface": "eth0",
        "ports": ["5071"],
        "most": 5,
        "sources": {"192.168.64.48/28": 8, "fd64:0:0:2::/64": 8},
    },
}
# Accepts, and closes what the other side has closed.
SERVER = """
import selectors, socket, sys
look = selectors.DefaultSelector()
for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listener.bind((address, 5071))
    listener.listen(50)
    look.register(listener, selectors.EVENT_READ, True)
print("ready", flush=True)
while True:
    for key, _ in look.select():
        if key.data:
            look.register(key.fileobj.accept()[0], selectors.EVENT_READ, False)
        elif not key.fileobj.recv(100):
            look.unregister(key.fileobj)
            key.fileobj.close()
"""
# From each address in turn, so many: how many of them were opened, each time it is asked.
CLIENT = """
import json, socket, sys
for line in sys.stdin:
    count, sources = json.loads(line)
    held = []
    for number in range(count):
        source = sources[number % len(sources)]
        to = "fd64::10" if ":" in source else "192.168.64.10"
        try:
            held.append(socket.create_connection((to, 5071), 2, (source, 0)))
        except ConnectionRefusedError:
            pass
    print(len(held), flush=True)
    for item in held:
        item.close()
"""


@pytest.fixture
def opened(namespace, firewall):
    """opened(count, *sources): how many connections from there got through."""
    outside = f"{namespace}-out"
    subprocess.run(["ip", "netns", "add", outside], check=True)
    try:
        for line in (
            f"link add eth0 netns {namespace} type veth peer name eth0 netns {outside}",
            f"-n {namespace} addr add 192.168.64.10/24 dev eth0",
            f"-n {namespace} addr add fd64::10/48 dev eth0 nodad",
            *(f"-n {outside} addr add 192.168.64.{last}/24 dev eth0" for last in (30, 31, 50)),
            *(f"-n {outside} addr add fd64:0:0:{last}/48 dev eth0 nodad"
              for last in ("1::1", "1::2", "2::1")),
            f"-n {namespace} link set eth0 up",
            f"-n {outside} link set eth0 up",
        ):  # fmt: skip
            subprocess.run(["ip", *line.split()], check=True)
        server = _started(namespace, SERVER)
        assert server.stdout.readline() == "ready\n"
        client = _started(outside, CLIENT)

        def ask(count, *sources):
            client.stdin.write(json.dumps([count, sources]) + "\n")
            client.stdin.flush()
            return int(client.stdout.readline())

        # An end is seen as one when both sides have said so.
        yield lambda *order: (time.sleep(0.5), ask(*order))[1]
        for program in (client, server):
            program.kill()
            program.communicate()
    finally:
        subprocess.run(["ip", "netns", "del", outside], check=True)


def _started(namespace, text):
    argv = ["nsenter", f"--net=/run/netns/{namespace}", sys.executable, "-c", text]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_source_has_so_many_connections(firewall, opened):
    """An IPv4 address, or an IPv6 network of 64 bits; an address of a large source has more."""
    firewall.load(firewall.ruleset(**LIMITED))
    assert opened(9, "192.168.64.30") == 5
    assert opened(9, "192.168.64.30", "192.168.64.31") == 9
    assert opened(12, "192.168.64.50") == 8
    assert opened(9, "fd64:0:0:1::1", "fd64:0:0:1::2") == 5
    assert opened(12, "fd64:0:0:2::1") == 8
    # What has ended counts no more, and those who were refused are counted.
    assert opened(9, "192.168.64.30") == 5
    assert firewall.drops()["too_many"] == 4 + 4 + 4 + 4 + 4


def test_who_is_counted_is_no_change(state, opened, tmp_path):
    path = tmp_path / "voip.nft"
    assert run(state, path, **LIMITED)["changes"]
    assert opened(3, "192.168.64.30") == 3
    assert run(state, path, **LIMITED)["changes"] == {}
