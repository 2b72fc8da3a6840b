"""One image for all; a machine for each of the two stories, with an outside and an inside."""

from __future__ import annotations

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.kernel import image as images
from tests.kernel.machine import Machine
from tests.kernel.upgrade_story import upgrade_story
from voip_stack.paths import pillar_dir
from voip_stack.pillar import compile_for, load

HOST = "media-1"
PACKETS = 200
# The networks of media-1 with one neighbour each: all inside the machine.
NETWORKS = """
ip link set lo up
for pair in "{internal} {inside} inside" "{external} {outside} outside"; do
    set -- $pair
    nic=${{1%%=*}} address=${{1#*=}}
    ip netns add $3
    ip link add $nic type veth peer name $nic netns $3
    ip address add $address/24 dev $nic
    ip link set $nic up
    ip -n $3 address add $2/24 dev $nic
    ip -n $3 link set $nic up
done
"""


@pytest.fixture(scope="session")
def image(tmp_path_factory):
    return images.ensure(tmp_path_factory.mktemp("logs"))


@pytest.fixture(scope="session")
def voip():
    """media-1's pillar, as the master would give it."""
    return compile_for(load(pillar_dir()), HOST, {"provider": "lab"})


@pytest.fixture(scope="session")
def peers(voip):
    """{"inside": address of the PBX, "outside": of a device}."""
    external = voip["self"]["addresses"]["external"].rpartition(".")[0]
    return {"inside": voip["peers"]["pbx"][0], "outside": f"{external}.100"}


@pytest.fixture(scope="session")
def boot(image, voip, peers, tmp_path_factory):
    """boot(release, disk=None) -> a machine, its networks up. disk: one from before, or a copy."""

    def start(release, disk=None):
        room = tmp_path_factory.mktemp("machine")
        disk = disk or _copy(image.disk, room / "disk.img")
        machine = Machine(image, release, disk, room, voip)
        return _Networked(machine, _networks(voip, peers))

    return start


@pytest.fixture(scope="session", autouse=True)
def upgrade(request, boot, image):
    """The future of upgrade_story, which runs beside everything else."""
    if not any("test_upgrade" in item.nodeid for item in request.session.items):
        yield None
        return
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(upgrade_story, boot, image)


class _Networked:
    def __init__(self, machine, script):
        self.machine, self.script = machine, script

    def __enter__(self):
        machine = self.machine.__enter__()
        machine.shell(self.script)
        return machine

    def __exit__(self, *error):
        self.machine.__exit__(*error)


def _networks(voip, peers):
    ends = {
        name: f"{voip['self']['interfaces'][name]}={address}"
        for name, address in voip["self"]["addresses"].items()
    }
    return NETWORKS.format(**ends, **peers)


def _copy(source: Path, target: Path) -> Path:
    argv = ["cp", "--sparse=always", "--reflink=auto", str(source), str(target)]
    subprocess.run(argv, check=True)
    return target


@pytest.fixture(scope="session")
def talk(voip, peers):
    """talk(machine, ...) -> what a call through RTPEngine gave; nothing lost, nothing altered."""

    def call(machine, packets=PACKETS, warm=0):
        target = [voip["self"]["addresses"]["internal"], voip["ports"]["rtpengine"]["ng"]]
        found = machine.media(ng=target, packets=packets, warm=warm, **peers)
        assert found["outside"] == found["inside"] == {
            "sent": packets, "received": packets, "wrong": 0
        }, found  # fmt: skip
        assert [leg["srtp"] for leg in found["legs"]] == [None, "AES_CM_128_HMAC_SHA1_80"]
        return found

    return call


@pytest.fixture(scope="session")
def by_kernel(talk, record):
    def check(machine, what):
        found = talk(machine, warm=250)
        record(what, found)
        assert found["kernelized"] == 2
        assert found["relayed"] == {"user": 0, "kernel": 2 * PACKETS}
        assert found["listed"] == 2 * PACKETS
        assert "SRTP encryption" in found["targets"]
        assert "SRTP decryption" in found["targets"]

    return check


@pytest.fixture(scope="session")
def by_user_space(talk, record):
    def check(machine, what, warm=0):
        found = talk(machine, packets=60, warm=warm)
        record(what, found)
        assert found["relayed"] == {"user": 120, "kernel": 0}
        # The daemon hands streams over after some three seconds, and hears of no missing rule.
        assert found["kernelized"] == (2 if warm else 0)

    return check


@pytest.fixture(scope="session")
def record(pytestconfig):
    """record(what, found): the counters, for whoever reads the run's output."""
    reporter = pytestconfig.pluginmanager.get_plugin("terminalreporter")

    def write(what, found):
        line = {key: found[key] for key in ("relayed", "listed", "kernelized")}
        reporter.write_line(f"  {what}: {json.dumps(line)}")

    return write
