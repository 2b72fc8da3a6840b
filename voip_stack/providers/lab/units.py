"""What an image has of ours: interface names and addresses at boot, and the minion's unit."""

from __future__ import annotations

from pathlib import Path

from voip_stack.providers import bootstrap

NETWORK_PROGRAM = "/usr/local/lib/voip-stack/network"
NETWORK_ENVIRONMENT = "/etc/voip-stack/network.env"

# No udev and no networkd in a guest: the addresses are there before anything else starts.
NETWORK_SCRIPT = """\
#!/bin/sh
# Name the interfaces as the pillar does and give them their addresses. Written by voip-stack.
set -eu
. /etc/voip-stack/network.env
ip link set lo up
if [ -n "${INTERNAL:-}" ] && [ -e /sys/class/net/host0 ]; then
    ip link set host0 name "$INTERNAL_NIC"
fi
# tune NIC IPV6_IS_OFF
tune() {
    echo "$2" > "/proc/sys/net/ipv6/conf/$1/disable_ipv6" || true
    echo 0 > "/proc/sys/net/ipv6/conf/$1/accept_ra" || true
    echo 1 > "/proc/sys/net/ipv4/conf/$1/rp_filter" || true
}
if [ -n "${INTERNAL:-}" ]; then
    tune "$INTERNAL_NIC" 1
    ip address replace "$INTERNAL" dev "$INTERNAL_NIC"
    ip link set "$INTERNAL_NIC" up
    ip route replace default via "$GATEWAY" dev "$INTERNAL_NIC"
fi
if [ -n "${EXTERNAL:-}" ]; then
    if [ -n "${EXTERNAL_IPV6:-}" ]; then
        tune "$EXTERNAL_NIC" 0
        ip address replace "$EXTERNAL_IPV6" dev "$EXTERNAL_NIC" nodad
    else
        tune "$EXTERNAL_NIC" 1
    fi
    ip address replace "$EXTERNAL" dev "$EXTERNAL_NIC"
    ip link set "$EXTERNAL_NIC" up
fi
# The lab waits for this file.
: > /run/voip-network-ready
"""

NETWORK_UNIT = """\
[Unit]
Description=Interfaces and addresses of voip-stack's lab
DefaultDependencies=no
Before=network-pre.target network.target network-online.target sysinit.target
Wants=network-pre.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=@PROGRAM@

[Install]
WantedBy=sysinit.target network-online.target
""".replace("@PROGRAM@", NETWORK_PROGRAM)

# The lab's host waits for this file, not for a guess.
MINION_DROP_IN = """\
[Service]
Environment=PYTHONWARNINGS=ignore
ExecStartPost=/usr/bin/touch /run/voip-minion-ready
"""


def install(root: Path, *, is_minion: bool) -> None:
    """Write units and enable them in an image."""
    script = root / NETWORK_PROGRAM.lstrip("/")
    _write(script, NETWORK_SCRIPT)
    script.chmod(0o755)
    system = root / "etc/systemd/system"
    _write(system / "voip-network.service", NETWORK_UNIT)
    _enable(system, "voip-network.service", "sysinit.target")
    _enable(system, "voip-network.service", "network-online.target")
    if is_minion:
        _write(root / bootstrap.UNIT.lstrip("/"), bootstrap.UNIT_TEXT)
        _write(system / "salt-minion.service.d" / "lab.conf", MINION_DROP_IN)
        _enable(system, "salt-minion.service", "multi-user.target")


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def _enable(system: Path, unit: str, target: str) -> None:
    wants = system / f"{target}.wants"
    wants.mkdir(parents=True, exist_ok=True)
    link = wants / unit
    if not link.is_symlink():
        link.symlink_to(f"/etc/systemd/system/{unit}")
