"""A media host with a kernel of its own, from bare to forwarding in it, and everything that breaks.

One machine, and the tests are its story: each begins where the one before it ended. What a copy of
it has lived through meanwhile is looked at in the end.
"""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.kernel.calls import record, went_by_kernel, went_by_user_space
from tests.kernel.guarded_story import MODULE, START, UNLOAD, guarded_story
from voip_stack.bench.media_kernel import LEAST_RATIO
from voip_stack.vm.cost import costs, measure_until
from voip_stack.vm.machine import MachineError
from voip_stack.vm.payload import SLS

STATE = "Forward RTP in the kernel"


@pytest.fixture(scope="module")
def machine(boot, image):
    with boot(image.new) as found:
        yield found


@pytest.fixture(scope="module")
def guarded(machine, machines):
    """The future of guarded_story; asked for first when the machine forwards in its kernel."""
    copied = machines.fork(machine)
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(guarded_story, machines, copied)


@pytest.fixture(scope="module")
def predicted(machine):
    """What test=True says of RTPEngine on the bare machine."""
    return machine.apply(SLS, test=True)


def is_loaded(machine):
    return MODULE in machine.run("cat", "/proc/modules")


def test_a_prediction_changes_nothing(machine, predicted, image):
    ret = predicted[STATE]
    assert ret["result"] is None, ret
    assert {f"package linux-headers-{image.new}", f"module for {image.new}"} <= set(ret["changes"])
    assert not is_loaded(machine)
    assert "rtpengine-kernel-dkms" not in machine.run("dpkg-query", "-W")


def test_a_broken_compiler_leaves_media_in_user_space(machine, image, by_user_space):
    machine.shell(
        "mv /usr/bin/gcc-12 /usr/bin/gcc-12.good; cat > /usr/bin/gcc-12; chmod 755 /usr/bin/gcc-12"
    , stdin='#!/bin/sh\necho "cc1: fatal error: broken by the test" >&2\nexit 1\n')  # fmt: skip
    returns = machine.apply(SLS)
    failed = {name: ret["comment"] for name, ret in returns.items() if ret["result"] is False}
    assert list(failed) == [STATE], failed
    assert "broken by the test" in failed[STATE]
    log = failed[STATE].rpartition("log: ")[2].rstrip(")")
    assert "broken by the test" in machine.run("cat", log)
    (event,) = machine.events()
    assert event["tag"] == "voip/event/kernel/build-failed"
    assert event["data"]["data"]["release"] == image.new
    assert "broken by the test" in event["data"]["data"]["reason"]
    assert machine.run("dpkg", "--audit") == ""
    status = machine.call("rtpengine_module.status")
    assert not status["is_forwarding"]
    assert "broken by the test" in status["problem"]
    assert status["log"] == log
    by_user_space(machine, "broken compiler")


def test_wrong_headers_are_told_and_not_used(machine, image):
    machine.shell(
        "mv /usr/bin/gcc-12.good /usr/bin/gcc-12; cd /lib/modules/$(uname -r); "
        f"mv build build.good; ln -s /usr/src/linux-headers-{image.old} build"
    )
    ret = machine.state("rtpengine_module.built")
    assert ret["result"] is False
    assert ret["changes"] == {}
    assert f"holds the headers of {image.old}" in ret["comment"]
    assert f"--reinstall linux-headers-{image.new}" in ret["comment"]
    assert machine.call("rtpengine_module.status")["verdict"] == "wrong headers"
    assert len(machine.events()) == 1
    machine.shell("cd /lib/modules/$(uname -r); rm build; mv build.good build")


def test_mended_it_is_built_without_dkms_and_signed_as_predicted(machine, image):
    """The other machine's is DKMS' build (test_upgrade.py)."""
    machine.run("mv", "/usr/sbin/dkms", "/usr/sbin/dkms.away")
    predicted = machine.state("rtpengine_module.built", test=True)
    assert predicted["result"] is None
    assert not is_loaded(machine)
    ret = machine.state("rtpengine_module.built")
    assert ret["result"] is True, ret
    assert ret["changes"] == predicted["changes"]
    status = machine.call("rtpengine_module.status")
    assert status["is_forwarding"], status
    assert status["built"] == {image.new: "10.5.3.5"}
    assert status["table"] == 0
    assert machine.events() == []
    file = machine.run("modinfo", "-n", MODULE).strip()
    assert file == f"/lib/modules/{image.new}/updates/voip/{MODULE}.ko"
    assert machine.run("modinfo", "-F", "signer", file).strip() == "DKMS module signing key"
    assert machine.run("stat", "-c", "%a %U", "/var/lib/dkms/mok.key").split() == ["600", "root"]


def test_packets_go_by_the_kernel(machine, by_kernel, guarded):
    by_kernel(machine, "kernel, RTP to SRTP and back")


def test_the_daemon_needs_no_privilege_for_it(machine):
    pid = machine.run("systemctl", "show", "-P", "MainPID", "rtpengine-daemon").strip()
    lines = machine.run("cat", f"/proc/{pid}/status").splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert "0" not in status["Uid"].split()


def test_nobody_else_sees_the_table(machine):
    """It lists SRTP keys."""
    nobody = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
    with pytest.raises(MachineError, match="Permission denied"):
        machine.run(*nobody, "cat", "/proc/rtpengine/0/list")


def test_a_second_run_changes_nothing(machine):
    for name, ret in machine.apply(SLS).items():
        assert (ret["result"], ret["changes"]) == (True, {}), name


def test_removed_and_applied_again(machine, by_user_space, by_kernel):
    machine.shell(UNLOAD + START)
    assert not is_loaded(machine)
    assert "not loaded" in machine.call("rtpengine_module.status")["reason"]
    by_user_space(machine, "module removed")
    ret = machine.state("rtpengine_module.built")
    assert ret["result"] is True, ret
    assert set(ret["changes"]) == {"loaded", "iptables rule", "ip6tables rule", "daemon"}
    by_kernel(machine, "kernel, applied again")


def test_a_packet_costs_a_third_in_the_kernel(machine, machines):
    for profile, cost in costs(measure_until(machines, machine, LEAST_RATIO, 4)).items():
        line = {"user space, us": round(cost.user_us), "kernel, us": round(cost.kernel_us),
                "ratio": round(cost.ratio, 1)}  # fmt: skip
        record(f"CPU for a forwarded packet, {profile}", line)
        assert cost.ratio >= LEAST_RATIO


def test_a_lost_rule_is_noticed_and_comes_back(guarded):
    """Module loaded, daemon content, and every packet in user space (rtpengine 1418)."""
    lost = guarded.result()["lost"]
    assert (lost["status"]["loaded"], lost["status"]["is_forwarding"]) == (True, False)
    assert "no rule" in lost["status"]["reason"]
    went_by_user_space(lost["call"], "rule lost", handed_over=True)
    assert list(lost["state"]["changes"]) == ["iptables rule"]


def test_the_firewall_leaves_the_rule_alone(guarded):
    """Both hook the input (rtpengine 1732, 1850); ours never flushes what is not its own."""
    filtered = guarded.result()["filtered"]
    for name, ret in filtered["firewall"].items():
        assert ret["result"] is True, (name, ret["comment"])
    assert (filtered["state"]["result"], filtered["state"]["changes"]) == (True, {})
    went_by_kernel(filtered["call"], "kernel, default-deny firewall loaded")


def test_a_key_that_is_not_enrolled_is_said(guarded):
    refused = guarded.result()["refused"]
    assert refused["state"]["result"] is False
    assert "mokutil --import /var/lib/dkms/mok.pub" in refused["state"]["comment"]
    assert [event["tag"] for event in refused["events"]] == ["voip/event/kernel/build-failed"]
    assert "not loaded" in refused["status"]["problem"]
    went_by_user_space(refused["call"], "key not enrolled")
