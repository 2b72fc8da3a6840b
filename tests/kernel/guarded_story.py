"""What stands between packets and the module: the rule, a firewall, a key that the kernel refuses.

A copy of the machine that forwards in its kernel lives through it, beside the others.
"""

from tests.kernel.calls import FEW, PACKETS, WARM

MODULE = "xt_RTPENGINE"
UNLOAD = f"""
systemctl stop rtpengine-daemon; iptables -F INPUT; ip6tables -F INPUT
echo del 0 > /proc/rtpengine/control || true; modprobe -r {MODULE}
"""
# Secure Boot's effect without its firmware: from now on this kernel wants a key it knows.
ENFORCE = "echo Y > /sys/module/module/parameters/sig_enforce\n"
START = "systemctl start rtpengine-daemon\n"


def guarded_story(machines, copied):
    """Return what was seen with the rule "lost", packets "filtered", and the key "refused".

    copied: the machine, not entered yet.
    """
    with copied as machine:
        return {
            "lost": _lost(machines, machine),
            "filtered": _filtered(machines, machine),
            "refused": _refused(machines, machine),
        }


def _lost(machines, machine):
    machine.run("iptables", "-F", "INPUT")
    return {
        "status": machine.call("rtpengine_module.status"),
        "call": machines.call(machine, FEW, WARM),
        "state": machine.state("rtpengine_module.built"),
    }


def _filtered(machines, machine):
    firewall = machine.apply("firewall")
    machine.run("systemctl", "restart", "nftables")
    return {
        "firewall": firewall,
        "state": machine.state("rtpengine_module.built"),
        "call": machines.call(machine, PACKETS, WARM),
    }


def _refused(machines, machine):
    machine.shell(UNLOAD + ENFORCE + START)
    return {
        "state": machine.state("rtpengine_module.built"),
        "events": machine.events(),
        "status": machine.call("rtpengine_module.status"),
        "call": machines.call(machine, FEW),
    }
