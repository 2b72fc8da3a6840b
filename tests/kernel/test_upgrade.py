"""A kernel upgraded underneath: no guess, a build for the next kernel, and a reboot that finds it.

rtpengine 807: the running kernel's headers leave the archive when its successor arrives. The
machine that has been rebooted then builds without DKMS, and is told to refuse foreign signatures.
"""

import pytest

from tests.kernel.upgrade_story import STATE
from voip_stack.events.kernel import Installed

MODULE = "xt_RTPENGINE"


@pytest.fixture(scope="module")
def seen(upgrade):
    """What upgrade_story saw; waits for it."""
    return upgrade.result()


@pytest.fixture(scope="module")
def rebooted(seen, boot, image):
    with boot(image.new, seen["disk"]) as machine:
        # Its addresses came later than at a real boot.
        machine.shell("systemctl reset-failed; systemctl restart rtpengine-daemon")
        yield machine


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
    assert seen["beacon"] == []


def test_a_second_run_changes_nothing(seen):
    for name, ret in seen["second"].items():
        assert (ret["result"], ret["changes"]) == (True, {}), name


def test_after_the_reboot_the_kernel_forwards_without_salt(rebooted, by_kernel):
    by_kernel(rebooted, "kernel, after the reboot into the next one")


def test_without_dkms_it_is_built_plainly_and_signed(rebooted, image, by_kernel):
    rebooted.shell(
        "mv /usr/sbin/dkms /usr/sbin/dkms.away; "
        f"rm /lib/modules/{image.new}/updates/dkms/{MODULE}.ko"
    )
    ret = rebooted.state("rtpengine_module.built")
    assert ret["result"] is True, ret
    file = rebooted.run("modinfo", "-n", MODULE).strip()
    assert file == f"/lib/modules/{image.new}/updates/voip/{MODULE}.ko"
    assert rebooted.run("modinfo", "-F", "signer", file).strip() == "DKMS module signing key"
    assert rebooted.run("stat", "-c", "%a %U", "/var/lib/dkms/mok.key").split() == ["600", "root"]
    assert rebooted.call("rtpengine_module.status")["built"] == {image.new: "10.5.3.5"}
    by_kernel(rebooted, "kernel, plain build")


def test_a_key_that_is_not_enrolled_is_said(rebooted, by_user_space):
    """Secure Boot's effect without its firmware: from now on this kernel wants a key it knows."""
    rebooted.shell(
        "systemctl stop rtpengine-daemon; iptables -F INPUT; ip6tables -F INPUT; "
        f"echo del 0 > /proc/rtpengine/control || true; modprobe -r {MODULE}; "
        "echo Y > /sys/module/module/parameters/sig_enforce; systemctl start rtpengine-daemon"
    )
    ret = rebooted.state("rtpengine_module.built")
    assert ret["result"] is False
    assert "mokutil --import /var/lib/dkms/mok.pub" in ret["comment"]
    assert [event["tag"] for event in rebooted.events()] == ["voip/event/kernel/build-failed"]
    assert "not loaded" in rebooted.call("rtpengine_module.status")["problem"]
    by_user_space(rebooted, "key not enrolled")
