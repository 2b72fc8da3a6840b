"""A machine for each story, with an outside and an inside, side by side."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.kernel.calls import FEW, PACKETS, WARM, went_by_kernel, went_by_user_space
from tests.kernel.upgrade_story import upgrade_story
from voip_stack.vm.lab import Machines


@pytest.fixture(scope="session")
def machines(tmp_path_factory):
    return Machines(tmp_path_factory.mktemp("vm"))


@pytest.fixture(scope="session")
def image(machines):
    return machines.image


@pytest.fixture(scope="session")
def boot(machines):
    """boot(release) -> a machine, its networks up."""
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


@pytest.fixture(scope="session")
def by_kernel(machines):
    """by_kernel(machine, what): calls, and looks that the packets went by the kernel."""

    def check(machine, what):
        went_by_kernel(machines.call(machine, PACKETS, WARM), what)

    return check


@pytest.fixture(scope="session")
def by_user_space(machines):
    """by_user_space(machine, what): calls, and looks that the daemon forwarded each packet."""

    def check(machine, what):
        went_by_user_space(machines.call(machine, FEW), what)

    return check
