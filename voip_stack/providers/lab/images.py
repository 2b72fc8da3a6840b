"""Images that guests are copied from: a Debian release with what a kind of guest needs."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from voip_stack.cache import Cache, digest
from voip_stack.packages.mirror import KEYRING, Mirror, fetch_problem
from voip_stack.pillar import Pillar
from voip_stack.problem import Problem
from voip_stack.providers import bootstrap
from voip_stack.providers.base import Progress
from voip_stack.providers.lab import aptconf, wheelhouse
from voip_stack.providers.lab.commands import run, run_long

# Raise when what is done to an image changes beyond the texts that its key covers.
REVISION = "2"
# An image that no `up` asked for in this time was replaced by another.
UNUSED_DAYS = 14
# Its time is the package index's: the index files carry the archive's.
STAMP = "etc/voip-stack/image"
COMMON = (
    "systemd", "systemd-sysv", "dbus", "iproute2", "iputils-ping", "netbase", "procps", "less",
    "python3", "ca-certificates", "openssl", "curl", "tcpdump", "netcat-openbsd",
)  # fmt: skip
MINION = ("python3-venv", "python3-apt", "nftables", "logrotate", "adduser", "tzdata")
CLIENT = (
    "baresip-core", "sip-tester", "sipsak", "python3-websockets", "libopus0", "ngrep", "nftables",
)  # fmt: skip
MASKED = (
    "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer",
    "fstrim.timer", "logrotate.timer", "man-db.timer", "console-getty.service",
    "systemd-networkd.service", "systemd-networkd.socket", "systemd-resolved.service",
    "systemd-timesyncd.service", "systemd-firstboot.service", "systemd-pcrphase.service",
    "systemd-networkd-wait-online.service",
)  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """suite: Debian release; is_minion: with Salt; extras: further locks of its environment."""

    suite: str
    is_minion: bool
    extras: tuple[str, ...] = ()

    @property
    def packages(self) -> tuple[str, ...]:
        return COMMON + (MINION if self.is_minion else CLIENT)

    def __str__(self) -> str:
        return " ".join([self.suite, "minion" if self.is_minion else "client", *self.extras])


def kind_of(pillar: Pillar, host: str) -> Kind:
    """The image that a host of the pillar is copied from."""
    definition = pillar.hosts[host]
    extras = ("devstack",) if "openbao" in pillar.components_of(host) else ()
    return Kind(definition.os, definition.is_minion, extras if definition.is_minion else ())


def key(kind: Kind, mirror: Mirror) -> str:
    """Changes with everything that the image is made from, except what the mirror serves."""
    parts: list[str | Path] = [REVISION, kind.suite, *kind.packages, *MASKED]
    parts += [mirror.sources(kind.suite), aptconf.options(mirror), aptconf.DPKG]
    parts += aptconf.certificates()
    if kind.is_minion:
        parts.append(wheelhouse.key(kind.suite, kind.extras))
    return f"{kind.suite}-{digest(*parts)}"


def ensure(cache: Cache, kind: Kind, mirror: Mirror, logs: Path, progress: Progress) -> Path:
    """The image's root directory in the cache. Only ever copied from."""

    def make(directory: Path) -> None:
        started = time.monotonic()
        log = logs / f"image-{str(kind).replace(' ', '-')}.log"
        wheels = None
        if kind.is_minion:
            pip_log = logs / f"wheels-{kind.suite}.log"
            wheels = wheelhouse.ensure(cache, kind.suite, kind.extras, pip_log, progress)
        progress(f"image {kind}")
        root = directory / "root"
        _bootstrap(kind, root, directory, mirror, log)
        _certificates(root)
        _mask(root)
        if wheels is not None:
            _environment(root, wheels, log)
        _clean(root)
        (root / STAMP).parent.mkdir(parents=True, exist_ok=True)
        (root / STAMP).write_text(f"{kind}\n")
        progress(f"image {kind} made in {time.monotonic() - started:.0f} s")

    image = cache.entry("images", key(kind, mirror), make) / "root"
    cache.prune("images", UNUSED_DAYS)
    return image


def _bootstrap(kind: Kind, root: Path, work: Path, mirror: Mirror, log: Path) -> None:
    files = {"sources.list": mirror.sources(kind.suite), "apt.conf": aptconf.options(mirror),
             "dpkg.cfg": aptconf.DPKG, "host-apt.conf": mirror.options}  # fmt: skip
    for name, text in files.items():
        (work / name).write_text(text)
    argv = [
        "mmdebstrap", "--variant=apt", "--format=directory", "--mode=root",
        f"--include={','.join(kind.packages)}", f"--keyring={KEYRING}",
        f"--aptopt={work / 'apt.conf'}", f"--aptopt={work / 'host-apt.conf'}",
        f"--dpkgopt={work / 'dpkg.cfg'}",
        # Guests install packages without asking the mirror for its index first.
        "--skip=cleanup/apt/lists", "--skip=cleanup/apt/cache", "--skip=cleanup/reproducible",
        kind.suite, str(root), str(work / "sources.list"),
    ]  # fmt: skip
    log.unlink(missing_ok=True)
    if run_long(argv, log):
        raise fetch_problem(f"Making the image {kind} (log {log})", log.read_text(errors="replace"))


def _certificates(root: Path) -> None:
    found = aptconf.certificates()
    if not found:
        return
    target = root / "usr/local/share/ca-certificates"
    target.mkdir(parents=True, exist_ok=True)
    for file in found:
        shutil.copy(file, target / file.name)
    run(["chroot", str(root), "update-ca-certificates", "--fresh"])


def _mask(root: Path) -> None:
    directory = root / "etc/systemd/system"
    for unit in MASKED:
        link = directory / unit
        if not link.is_symlink():
            link.symlink_to("/dev/null")


def _environment(root: Path, wheels: Path, log: Path) -> None:
    inside = root / "root/wheels"
    shutil.copytree(wheels, inside)
    venv = bootstrap.VENV
    install = [
        f"{venv}/bin/pip", "install", "--quiet", "--no-index", "--no-deps", "--no-input",
        "--find-links=/root/wheels", "--root-user-action=ignore",
        *_names(wheels / "requirements.txt"),
    ]  # fmt: skip
    try:
        run(["chroot", str(root), "python3", "-m", "venv", "--system-site-packages", venv])
        if run_long(["chroot", str(root), *install], log, clean=True):
            raise Problem(
                "The minion's environment could not be made", str(log),
                f"remove {wheels.parent} (it is a cache), then ./voip up",
            )  # fmt: skip
    finally:
        shutil.rmtree(inside)
    # Nothing installs into it again, and pip is 13 MB of every copy.
    run(["chroot", str(root), f"{venv}/bin/python", "-m", "pip", "uninstall", "-qy", "pip"])


def _names(file: Path) -> list[str]:
    """Requirements without hashes: the wheel made of a source has another hash than its source.

    The hashes were checked when the wheelhouse was made; the cache entry is whole or absent.
    """
    found = [line.split(" --hash")[0].strip() for line in file.read_text().splitlines()]
    return [line for line in found if line]


def _clean(root: Path) -> None:
    for pattern in ("var/cache/apt/archives/*.deb", "var/log/*.log", "var/log/apt/*"):
        for file in root.glob(pattern):
            file.unlink()
    (root / "etc/machine-id").write_text("uninitialized\n")
    (root / "var/log/journal").mkdir(exist_ok=True)


def kinds(pillar: Pillar, hosts: Sequence[str]) -> list[Kind]:
    """The distinct images of `hosts`, in their order."""
    return list(dict.fromkeys(kind_of(pillar, host) for host in hosts))
