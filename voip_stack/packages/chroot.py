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
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO

from voip_stack.cache import Cache
from voip_stack.packages.mirror import KEYRING, Mirror, failed_uris, fetch_problem
from voip_stack.problem import Problem

# Raise when the base's content changes, so that old cache entries are not used.
BASE_REVISION = 1
BUILDER = "builder"
_TICK_S = 10
# Killing the first process kills all that it started, and its mounts go with it.
_OWN_PROCESSES = ("unshare", "--mount", "--pid", "--fork", "--kill-child")
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
            *_OWN_PROCESSES, "--mount-proc",
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
        tick: Callable[[], None] | None = None,
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
        isolation = [*_OWN_PROCESSES, "--ipc", *([] if network else ["--net"])]
        run_logged([*isolation, "sh", "-euc", setup], self.log, doing, tick)


class _Running:
    """The commands that run just now, in any thread, so that an interruption ends them all."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._processes: set[subprocess.Popen] = set()
        self._is_stopped = False

    def start(self, argv: list[str], output: IO[bytes]) -> subprocess.Popen:
        with self._lock:
            if self._is_stopped:
                raise Problem("Interrupted", how="run the same command again: it goes on from here")
            # The commands end with this process, however that ends.
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *argv],
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
            self._processes.add(process)
        return process

    def wait(self, process: subprocess.Popen, tick: Callable[[], None] | None) -> int:
        """The exit code. tick: called every few seconds while the command runs."""
        try:
            while True:
                try:
                    return process.wait(_TICK_S)
                except subprocess.TimeoutExpired:
                    if tick:
                        tick()
        finally:
            if process.poll() is None:
                process.kill()  # unshare ignores a polite request
                process.wait()
            with self._lock:
                self._processes.discard(process)

    def reset(self) -> None:
        with self._lock:
            self._is_stopped = False

    def stop(self) -> None:
        """End every command, and let none begin until reset()."""
        with self._lock:
            self._is_stopped = True
            for process in self._processes:
                process.kill()  # unshare ignores a polite request


RUNNING = _Running()


def run_logged(
    argv: list[str], log: Path, doing: str, tick: Callable[[], None] | None = None
) -> None:
    """Run a command with its output appended to `log`. Raises Problem when it fails.

    A failed download is named by its URI; anything else by the end of the log.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        output.write(f"== {doing}\n".encode())
        output.flush()
        start = output.tell()
        code = RUNNING.wait(RUNNING.start(argv, output), tick)
    if code == 0:
        return
    with log.open("rb") as content:
        content.seek(start)
        text = content.read().decode(errors="replace")
    if failed_uris(text):
        raise fetch_problem(doing, text)
    last = "\n".join(text.strip().splitlines()[-5:])
    raise Problem(f"{doing} failed (exit code {code}):\n{last}", where=f"full log: {log}")
