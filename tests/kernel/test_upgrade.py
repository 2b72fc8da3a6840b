"""A kernel upgraded underneath: no guess, a build for the next kernel, and a reboot that finds it.

rtpengine 807: the running kernel's headers leave the archive when its successor arrives.
"""

import pytest

from tests.kernel.upgrade_story import STATE


@pytest.fixture(scope="module")
def seen(upgrade):
    """What upgrade_story saw; waits for it."""
    return upgrade.result()


def test_the_reboot_is_required_and_said(seen, image):
    ret = seen["first"][STATE]
    assert ret["result"] is True, ret
    assert ret["comment"].startswith("reboot required: ")
    assert image.new in ret["comment"]
    assert seen["status"]["verdict"] == "reboot required"
    assert not seen["status"]["is_forwarding"]
    assert "xt_RTPENGINE" not in seen["modules"]
    assert seen["events"] == []


def test_the_next_kernel_has_its_module_already(seen, image):
    ret = seen["first"][STATE]
    assert f"module for {image.new}" in ret["changes"]
    assert f"module for {image.old}" not in ret["changes"]
    assert ret["changes"] == seen["predicted"]["changes"]
    assert seen["status"]["built"] == {image.new: "10.5.3.5"}
    assert seen["status"]["next"] == image.new


def test_a_second_run_changes_nothing(seen):
    for name, ret in seen["second"].items():
        assert (ret["result"], ret["changes"]) == (True, {}), name


def test_after_the_reboot_the_kernel_forwards_without_salt(seen, boot, image, by_kernel):
    with boot(image.new, seen["disk"]) as machine:
        # Its addresses came later than at a real boot.
        machine.shell("systemctl reset-failed; systemctl restart rtpengine-daemon")
        by_kernel(machine, "kernel, after the reboot into the next one")
