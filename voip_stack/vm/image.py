"""The machine's disk: the lab's own minion image, with Debian's cloud kernels and a compiler.

Kept in the cache by what it is made from. What the state under test installs is only downloaded, so
that the machine needs no network; apt knows no other package, because it reads its lists at every
run. Two kernels are there: the newest, and the one before it. What the compiler gives for the
newest is known already (compiled.py). For each kernel there is also a machine that
has booted and loaded Salt, frozen: thawing takes seconds.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from voip_stack.cache import Cache, digest
from voip_stack.packages.chroot import run_logged
from voip_stack.packages.mirror import Mirror, host_mirror
from voip_stack.problem import Problem
from voip_stack.providers.lab import images
from voip_stack.up import machine
from voip_stack.vm import compiled
from voip_stack.vm.machine import Machine, command

REVISION = "3"
META = "linux-image-cloud-amd64"
SIZE = "4G"
# Debian packages that the host needs.
PACKAGES = ("qemu-system-x86", "qemu-utils", "e2fsprogs", "mmdebstrap")
# There before the state runs. The compiler comes with dkms; the headers of every kernel share most.
INSTALLED = (
    "initramfs-tools", "udev", "kmod", "dkms", "ccache", "rtpengine-daemon", "keepalived",
)  # fmt: skip
# What the state is to install itself; on a host whose kernel is upgraded it is there already.
OFFERED = ("rtpengine-kernel-dkms", "rtpengine-iptables", "iptables", "linux-headers-cloud-amd64")
AGENT_FILE = Path(__file__).parent / "guest/agent.py"
AGENT = """\
[Unit]
DefaultDependencies=no
After=systemd-tmpfiles-setup.service local-fs.target systemd-udev-trigger.service

[Service]
ExecStart=/opt/voip-minion/bin/python -P /opt/voip-test/agent.py
Restart=on-failure
RestartSec=1
StandardError=journal+console
"""
# Packages first, then a small initrd: without the modules of every disk controller there is.
_INSTALL = """
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
apt="apt-get -y -q --no-install-recommends -o Dpkg::Use-Pty=0"
echo force-unsafe-io > /etc/dpkg/dpkg.cfg.d/voip-test
$apt update
$apt install {installed}
printf 'MODULES=list\\nCOMPRESS=gzip\\n' > /etc/initramfs-tools/conf.d/voip
printf 'virtio_pci\\nvirtio_blk\\n' >> /etc/initramfs-tools/modules
releases=$(apt-cache show {meta} | sed -n 's/^Depends: linux-image-\\([^ ,]*\\).*/\\1/p' | sort -Vu)
new=$(echo "$releases" | tail -n 1)
old=$(echo "$releases" | tail -n 2 | head -n 1)
[ "$new" != "$old" ]
common=linux-headers-$(echo "$new" | sed 's/-cloud-amd64$//')-common
touch /etc/dkms/no-autoinstall
$apt install linux-image-$new linux-image-$old linux-headers-$old $common $(
    apt-cache depends linux-headers-$new | sed -n 's/.*Depends: \\(linux-kbuild.*\\)/\\1/p')
$apt install --download-only {offered} linux-headers-$new
{compile}
rm /etc/dkms/no-autoinstall
{{ dpkg-query -W -f '${{Package}}\n'; ls /var/cache/apt/archives | sed -n 's/_.*//p'
   echo {meta}; }} > /names
for list in /var/lib/apt/lists/*_Packages; do
    awk 'FILENAME == "/names" {{ known[$0]; next }}
         /^Package: / {{ is_known = $2 in known }}
         is_known' /names "$list" > /list
    mv /list "$list"
done
rm /names
apt-cache gencaches
systemctl disable rtpengine-daemon
printf '%s\\n%s\\n' "$old" "$new" > /releases
"""
# Without a build: that is what is tried.
_EARLIER = """
touch /etc/dkms/no-autoinstall
DEBIAN_FRONTEND=noninteractive apt-get -y -q --no-install-recommends install {offered}
rm /etc/dkms/no-autoinstall
"""


@dataclass(frozen=True)
class Image:
    """disk: of the root file system, never written to; old, new: releases."""

    directory: Path
    old: str
    new: str

    @property
    def disk(self) -> Path:
        return self.directory / "disk.img"

    def boot(self, release: str) -> tuple[Path, Path]:
        """(kernel, initrd) of a release."""
        return self.directory / f"vmlinuz-{release}", self.directory / f"initrd.img-{release}"


@dataclass(frozen=True)
class Frozen:
    """A booted machine: memory belongs to this very state of disk."""

    directory: Path

    @property
    def disk(self) -> Path:
        return self.directory / "disk.img"

    @property
    def memory(self) -> Path:
        return self.directory / "memory"


def ensure(logs: Path) -> Image:
    """The image, from the cache or made now (about three minutes and the downloads)."""
    if packages := machine.look(PACKAGES).missing:
        raise Problem(
            f"A machine under qemu needs {', '.join(packages)}, not installed",
            how=f"apt-get install --no-install-recommends {' '.join(packages)}",
        )
    if os.geteuid() != 0:
        raise Problem("A machine under qemu needs root to make its image")
    cache, mirror = Cache(), host_mirror()
    kind = images.Kind("bookworm", True)
    parts = (AGENT, AGENT_FILE, _INSTALL, compiled.SCRIPT, *INSTALLED, *OFFERED)
    key = digest(REVISION, images.key(kind, mirror), *parts)

    def make(directory: Path) -> None:
        base = images.ensure(cache, kind, mirror, logs, lambda text: None)
        _make(directory, base, mirror, logs / "image-kernel.log")

    directory = cache.entry("kernel", key, make)
    for name in ("kernel", "kernel-frozen"):
        cache.prune(name, images.UNUSED_DAYS)
    return Image(directory, **json.loads((directory / "releases.json").read_text()))


def frozen(image: Image, release: str, room: Path) -> Frozen:
    """A machine that has booted `release` and loaded Salt, from the cache or made now.

    On the old kernel it has the packages of a host that had the module before.
    """
    version = subprocess.run(
        ["qemu-system-x86_64", "--version"], capture_output=True, text=True, check=True
    ).stdout
    nowhere = Path("/")
    argv = command(nowhere, nowhere, nowhere, nowhere)
    key = digest(image.directory.name, release, version, _EARLIER, *argv)

    def make(directory: Path) -> None:
        kept = Frozen(directory)
        argv = ["cp", "--sparse=always", str(image.disk), str(kept.disk)]  # its holes stay holes
        subprocess.run(argv, check=True)
        with Machine(image.boot(release), kept.disk, room) as booted:
            # Reads and compiles what every run needs, with nothing of the checkout.
            booted.shell("mkdir -p /opt/voip-test/salt /opt/voip-test/pillar")
            booted.call("state.single", "test.nop", name="warm")
            if release == image.old:
                booted.shell(_EARLIER.format(offered=" ".join(OFFERED)))
            booted.freeze(kept.memory)

    return Frozen(Cache().entry("kernel-frozen", key, make))


def _make(directory: Path, base: Path, mirror: Mirror, log: Path) -> None:
    root = directory / "root"
    subprocess.run(["cp", "-a", str(base), str(root)], check=True)
    shutil.copyfile("/etc/resolv.conf", root / "etc/resolv.conf")
    policy = root / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    script = _INSTALL.format(
        installed=" ".join(INSTALLED), meta=META, offered=" ".join(OFFERED), compile=compiled.SCRIPT
    )
    inside = f'mount -t proc proc {root}/proc && exec chroot {root} sh -euc "$SCRIPT"'
    run_logged(
        ["env", f"SCRIPT={script}", "unshare", "--mount", "--pid", "--fork", "--kill-child",
         "nice", "-n", "15", "sh", "-euc", inside],
        log, "Making the kernel tests' image",
    )  # fmt: skip
    policy.unlink()
    old, new = (root / "releases").read_text().split()
    for release in (old, new):
        for name in ("vmlinuz", "initrd.img"):
            shutil.copyfile(root / f"boot/{name}-{release}", directory / f"{name}-{release}")
    _configure(root)
    disk = directory / "disk.img"
    with open(disk, "wb") as file:
        file.truncate(int(re.sub("G$", "", SIZE)) << 30)
    run_logged(["mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-d", str(root),
                str(disk)], log, "Filling the disk")  # fmt: skip
    shutil.rmtree(root)
    (directory / "releases.json").write_text(json.dumps({"old": old, "new": new}))


def _configure(root: Path) -> None:
    units = root / "etc/systemd/system"
    (units / "voip-test.service").write_text(AGENT)
    (root / "opt/voip-test").mkdir(exist_ok=True)
    shutil.copyfile(AGENT_FILE, root / "opt/voip-test/agent.py")
    wanted = units / "sysinit.target.wants"
    wanted.mkdir(exist_ok=True)
    (wanted / "voip-test.service").symlink_to("../voip-test.service")
    (root / "etc/fstab").write_text("/dev/vda / ext4 rw 0 0\n")
    (root / "etc/hostname").write_text("media-1\n")
    (root / "etc/resolv.conf").write_text("")
