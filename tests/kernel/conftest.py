"""A machine for each of the two stories, with an outside and an inside, side by side."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from tests.kernel.upgrade_story import upgrade_story
from tests.told import tell
from voip_stack.vm.lab import Machines

PACKETS = 200
WARM = 200
TOLD = "by kernel and by user space: packets and their cost"


@pytest.fixture(scope="session")
def machines(tmp_path_factory):
    return Machines(tmp_path_factory.mktemp("vm"))


@pytest.fixture(scope="session")
def image(machines):
    return machines.image


@pytest.fixture(scope="session")
def boot(machines):
    """boot(release, disk=None) -> a machine, its networks up. disk: one from before, or a copy."""
    return machines.boot


@pytest.fixture(scope="session", autouse=True)
def upgrade(request):
    """The future of upgrade_story, which runs beside everything else."""
    if not any("test_upgrade" in item.nodeid for item in request.session.items):
        yield None
        return
    machines = request.getfixturevalue("machines")
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(upgrade_story, machines)


@pytest.fixture
def alone(upgrade):
    """No other machine runs: two that emulate make each other's instructions dearer."""
    if upgrade:
        wait([upgrade])


@pytest.fixture(scope="session")
def talk(machines):
    """talk(machine, ...) -> what a call through RTPEngine gave; nothing lost, nothing altered."""

    def call(machine, packets=PACKETS, warm=0):
        found = machines.call(machine, packets, warm)
        assert found["outside"] == found["inside"] == {
            "sent": packets, "received": packets, "wrong": 0
        }, found  # fmt: skip
        assert [leg["srtp"] for leg in found["legs"]] == [None, "AES_CM_128_HMAC_SHA1_80"]
        return found

    return call


@pytest.fixture(scope="session")
def by_kernel(talk, record):
    def check(machine, what):
        found = talk(machine, warm=WARM)
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
def record():
    """record(what, found): the counters, for whoever reads the run's output."""

    def write(what, found):
        keys = ("relayed", "listed", "kernelized")
        tell(TOLD, f"{what}: {json.dumps({k: found[k] for k in keys if k in found} or found)}")

    return write
