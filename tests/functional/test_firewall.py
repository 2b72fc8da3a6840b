"""The firewall's module and state with the real nft, in a network namespace of the test's own."""

import importlib.util
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
