"""A clean Debian to build packages in: a cached base, and an overlay on it for each build.

Mounts live in a mount namespace of their own, so they end with the command, Ctrl-C included.
Needs root on Linux. The build itself runs as an unprivileged user and without a network.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from voip_stack.cache import Cache
from voip_stack.packages.mirror import KEYRING, Mirror, failed_uris, fetch_problem
from voip_stack.problem import Problem

# Raise when the base's content changes, so that old cache entries are not used.
BASE_REVISION = 1
BUILDER = "builder"
_ENVIRONMENT = {
    "HOME": "/build",
    "LC_ALL": "C.UTF-8",
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "DEBIAN_FRONTEND": "noninteractive",
}
_MOUNT = """
mount --make-rprivate /
mkdir -p {work}/upper {work}/overlay {work}/root {work}/build
mount -t overlay overlay -o lowerdir={base},upperdir={work}/upper,workdir={work}/overlay {work}/root
mkdir -p {work}/root/build
mount --bind {work}/build {work}/root/build
mount -t proc proc {work}/root/proc
exec chroot {work}/root {command}
"""


def unavailable() -> str | None:
    """Why nothing can be built on this host, or None when it can."""
    if platform.system() != "Linux":
        return f"building needs Linux, this is {platform.system()}"
    if os.geteuid() != 0:
        return "building needs root (chroots), this user is not"
    if missing := [tool for tool in ("mmdebstrap", "unshare", "apt-get") if not shutil.which(tool)]:
        return f"building needs {', '.join(missing)}, not installed"
    if not KEYRING.exists():
        return f"building needs {KEYRING} (package debian-archive-keyring)"
    return None


def base(cache: Cache, suite: str, arch: str, mirror: Mirror, log: Path) -> Path:
    """The cached root directory of a minimal build system of one Debian release."""
    key = f"{suite}-{arch}-{BASE_REVISION}"

    def build(directory: Path) -> None:
        script = directory / "sources.list"
        script.write_text(mirror.sources(suite))
        options = directory / "apt.conf"
        options.write_text(mirror.options)
        argv = [
            "mmdebstrap", "--variant=buildd", f"--architectures={arch}",
            "--include=eatmydata,ca-certificates", "--dpkgopt=force-unsafe-io",
            f"--aptopt={options}", "--aptopt=Acquire::Languages \"none\"",
            f"--keyring={KEYRING}", "--skip=cleanup/apt/lists", suite, str(directory / "root"),
            str(script),
        ]  # fmt: skip
        run_logged(argv, log, f"Making a {suite} build system")
        users = ["useradd", "--system", "--user-group", "--home-dir=/build", BUILDER]
        run_logged(["chroot", str(directory / "root"), *users], log, "Adding the build user")
        policy = directory / "root" / "usr" / "sbin" / "policy-rc.d"
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)

    return cache.entry("buildroot", key, build) / "root"


class Chroot:
    """One build's system: `base` below, everything that is written in `work`.

    work: an empty directory on a real file system; `work/build` is /build inside.
    """

    def __init__(self, base: Path, work: Path, log: Path):
        self.base, self.work, self.log = base, work, log
        (work / "build").mkdir(parents=True, exist_ok=True)

    def run(
        self,
        script: str,
        doing: str,
        user: str = "root",
        network: bool = True,
        env: dict[str, str] | None = None,
    ) -> None:
        """Run a shell script inside. Raises Problem with the log's place when it fails.

        doing: "Building kamailio", the start of the error's sentence.
        """
        settings = _ENVIRONMENT | (env or {})
        inner = ["env", "-i", *(f"{key}={value}" for key, value in settings.items())]
        if user != "root":
            inner = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", *inner]
        command = shlex.join([*inner, "sh", "-euc", script])
        if network:
            resolver = self.work / "upper" / "etc" / "resolv.conf"
            resolver.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile("/etc/resolv.conf", resolver)
        setup = _MOUNT.format(
            base=shlex.quote(str(self.base)), work=shlex.quote(str(self.work)), command=command
        )
        argv = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--ipc"]
        argv += [] if network else ["--net"]
        run_logged([*argv, "sh", "-euc", setup], self.log, doing)


def run_logged(
    argv: list[str], log: Path, doing: str, cwd: Path | None = None,
    tail: Callable[[str], None] | None = None,
) -> None:  # fmt: skip
    """Run a command with its output appended to `log`. Raises Problem when it fails.

    A failed download is named by its URI; anything else by the end of the log.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        output.write(f"== {doing}\n".encode())
        output.flush()
        start = output.tell()
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=cwd
        )
        try:
            code = process.wait()
        except BaseException:
            process.kill()
            process.wait()
            raise
    if code == 0:
        return
    with log.open("rb") as output:
        output.seek(start)
        text = output.read().decode(errors="replace")
    if failed_uris(text):
        raise fetch_problem(doing, text)
    last = "\n".join(text.strip().splitlines()[-5:])
    raise Problem(f"{doing} failed (exit code {code}):\n{last}", where=f"full log: {log}")
