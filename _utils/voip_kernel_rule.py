"""The rule that hands RTP packets to the module, and the files that bring it back at boot.

iptables' RTPENGINE target is all that the module offers; with iptables-nft it lives in a table of
its own beside ours, so neither firewall flushes the other. No dunders.
"""

import os

from salt.exceptions import CommandExecutionError
from voip_kernel_build import MODULE
from voip_process import must, run

UNIT = "voip-rtpengine-rule.service"
PROC = "/proc/rtpengine"


def rule(ports, table):
    """The rule's words after `-A`. ports: "first:last" of RTP. table: the module's number."""
    return ["INPUT", "-p", "udp", "-m", "udp", "--dport", ports,
            "-j", "RTPENGINE", "--id", str(table)]  # fmt: skip


def tools():
    """One for each family that the kernel speaks."""
    return ("iptables", "ip6tables") if os.path.exists("/proc/net/if_inet6") else ("iptables",)


def present(tool):
    """The rules of INPUT that hand packets to a table, ours or a former one, as iptables says."""
    try:
        lines = run([tool, "-w", "-S", "INPUT"]).stdout.splitlines()
    except CommandExecutionError:
        return []  # iptables comes with the packages
    return [line for line in lines if " -j RTPENGINE " in line]


def is_in_place(tool, wanted):
    """Whether `wanted`, and no other table's rule, is there."""
    return present(tool) == [f"-A {' '.join(wanted)}"]


def drop():
    """Remove them all: packets go to user space until the unit puts the rule back."""
    for tool in tools():
        for line in present(tool):
            must([tool, "-w", "-D", *line.split()[1:]], f"Removing the rule {line}")


def files(wanted, owner, daemon):
    """{path: text} of what makes module and rule come back at boot.

    owner: (uid, gid) of the daemon, which is unprivileged; nobody else may see the table: it shows
    SRTP keys. daemon: its unit.
    """
    check, insert = " ".join(wanted), " ".join(["INPUT 1", *wanted[1:]])
    lines = "".join(
        f"ExecStart=/bin/sh -c '{tool} -w -C {check} 2>/dev/null || {tool} -w -I {insert}'\n"
        for tool in tools()
    )
    return {
        "/etc/modules-load.d/voip-rtpengine.conf": f"# Written by Salt.\n{MODULE}\n",
        "/etc/modprobe.d/voip-rtpengine.conf": (
            "# Written by Salt.\n"
            f"options {MODULE} proc_uid={owner[0]} proc_gid={owner[1]} proc_mask=0x7\n"
        ),
        f"/etc/systemd/system/{UNIT}": (
            "# Written by Salt.\n[Unit]\n"
            "Description=Hand RTP packets to RTPEngine's kernel module\n"
            f"After=systemd-modules-load.service nftables.service\nBefore={daemon}\n"
            f"ConditionPathExists={PROC}/control\n\n"
            f"[Service]\nType=oneshot\n{lines}\n[Install]\nWantedBy=multi-user.target\n"
        ),
    }
