"""What this machine lacks, and what is decided about it."""

import pytest

from voip_stack.up.machine import Machine, not_installed, plan

MISSING = ("mmdebstrap", "nftables")


def test_nothing_missing_needs_neither_root_nor_debian():
    decided = plan(Machine("Darwin", "", False, ()))
    assert decided.install == ()
    assert decided.problem is None


def test_debian_as_root_installs():
    assert plan(Machine("Linux", "debian", True, MISSING)).install == MISSING


@pytest.mark.parametrize(
    ("machine", "how"),
    [
        (Machine("Linux", "debian", False, MISSING), "sudo apt-get install mmdebstrap nftables"),
        (Machine("Linux", "fedora", True, MISSING, has_apt=False), "your system's own means"),
        (Machine("Darwin", "", False, MISSING, has_apt=False), "your system's own means"),
    ],
)
def test_otherwise_it_says_what_to_do(machine, how):
    decided = plan(machine)
    assert decided.install == ()
    assert how in decided.problem.how
    assert "mmdebstrap, nftables" in decided.problem.what
    assert decided.problem.code == 3


def test_half_removed_packages_are_missing():
    answer = "nftables installed\nmmdebstrap config-files\n"
    assert not_installed(["nftables", "mmdebstrap", "tcpdump"], answer) == ["mmdebstrap", "tcpdump"]
