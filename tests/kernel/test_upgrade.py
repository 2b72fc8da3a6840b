"""A kernel upgraded underneath: no guess, a build for the next kernel, and a reboot that finds it.

rtpengine 807: the running kernel's headers leave the archive when its successor arrives.
"""

import pytest

from tests.kernel.calls import went_by_kernel
from tests.kernel.upgrade_story import MODULE, STATE
from voip_stack.events.kernel import Installed


@pytest.fixture(scope="module")
def story(upgrade):
    """What upgrade_story saw; waits for it."""
    return upgrade.result()


@pytest.fixture(scope="module")
def seen(story):
    return story["before"]


def test_the_beacon_tells_of_the_new_kernel(seen, image):
    assert seen["believed"] == ("kernel/installed", Installed(release=image.new))


def test_the_reboot_is_required_and_said(seen, image):
    ret = seen["first"][STATE]
    assert ret["result"] is True, ret
    assert ret["comment"].startswith("reboot required: ")
    assert image.new in ret["comment"]
    assert seen["status"]["verdict"] == "reboot required"
    assert not seen["status"]["is_forwarding"]
    assert MODULE not in seen["modules"]
    assert seen["events"] == []


def test_the_next_kernel_has_its_module_already(seen, image):
    ret = seen["first"][STATE]
    assert f"module for {image.new}" in ret["changes"]
    assert f"module for {image.old}" not in ret["changes"]
    assert seen["predicted"]["result"] is None
    assert set(ret["changes"]) == set(seen["predicted"]["changes"])
    assert seen["status"]["built"] == {image.new: "10.5.3.5"}
    assert seen["status"]["next"] == image.new
    assert seen["key"] == ["600", "root"]
    assert seen["beacon"] == []


def test_a_second_run_changes_nothing(seen):
    for name, ret in seen["second"].items():
        assert (ret["result"], ret["changes"]) == (True, {}), name


def test_after_the_reboot_the_kernel_forwards_without_salt(story, image):
    after = story["after"]
    assert after["file"] == f"/lib/modules/{image.new}/updates/dkms/{MODULE}.ko"
    assert after["signer"] == "DKMS module signing key"
    went_by_kernel(after["call"], "kernel, after the reboot into the next one")
