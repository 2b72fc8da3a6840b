"""A guest's processes: start systemd-nspawn in the lab's namespace, find its init, enter, stop."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from voip_stack.problem import Problem
from voip_stack.providers.lab import limits, netns
from voip_stack.providers.lab.commands import run
from voip_stack.providers.lab.registry import Process, Record

START_DEADLINE_S = 60
STOP_DEADLINE_S = 10
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Joins the groups named before `--`, then runs the rest.
_JOIN = (
    'while [ "$1" != -- ]; do echo $$ > "$1/cgroup.procs" || exit 125; shift; done; '
    'shift; exec "$@"'
)

# nspawn ends with 133 when its guest reboots. A new start has a new external cable: the first
# argument is its name, "" where there is none. It is plugged in once nspawn has made it.
_GUEST = """\
link=$1; shift
while :; do
    if [ -n "$link" ]; then
        (n=0; until ip link set "$link" master br-ext up 2>/dev/null || [ $((n += 1)) -gt 300 ]
         do sleep 0.1; done) &
    fi
    code=0; "$@" || code=$?
    [ "$code" = 133 ] || exit "$code"
done
"""


@dataclass(frozen=True)
class Spec:
    """What nspawn has to know of a guest."""

    name: str
    root: Path
    has_internal: bool
    external_interface: str | None
    console: Path


def external_link(name: str) -> str:
    """Name, in the namespace, of a guest's cable to the external bridge (15 characters at most)."""
    short = name if len(name) <= 11 else hashlib.sha256(name.encode()).hexdigest()[:11]
    return f"ext-{short}"


def spawn_argv(record: Record, spec: Spec) -> list[str]:
    argv = [
        "systemd-nspawn", "--quiet", f"--directory={spec.root}", "--boot", "--register=no",
        # Machine names are the whole host's; another lab has the same guests.
        "--keep-unit", f"--machine={spec.name}-{record.short}", f"--hostname={spec.name}",
        "--timezone=off", "--resolv-conf=off", "--link-journal=no", "--console=read-only",
    ]  # fmt: skip
    argv.append("--network-bridge=br-int" if spec.has_internal else "--private-network")
    if spec.external_interface:
        argv.append(f"--network-veth-extra={external_link(spec.name)}:{spec.external_interface}")
    link = external_link(spec.name) if spec.external_interface else ""
    return netns.enter(record.name, ["sh", "-c", _GUEST, f"guest-{spec.name}", link, *argv])


def start(record: Record, spec: Spec, limit: limits.Limit) -> list[str]:
    """Start a guest and record it. Returns limits that could not be set."""
    link = external_link(spec.name)
    # Left by a run that was killed before it could record the process.
    for pid in limits.processes(record.name, spec.name):
        _signal(pid, signal.SIGKILL)
    run(["ip", "-n", record.name, "link", "delete", link], check=False)
    groups, refused = limits.ensure(record.name, spec.name, limit)
    spec.console.parent.mkdir(parents=True, exist_ok=True)
    argv = ["sh", "-c", _JOIN, "join", *map(str, groups), "--", *spawn_argv(record, spec)]
    with open(spec.console, "ab") as console:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            # Debian 13's systemd knows cgroup v2 only; Debian 12's takes it as well.
            env={"PATH": _PATH, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            # Ctrl-C ends `up`, not the guests.
            start_new_session=True,
            cwd="/",
        )
    record.guests[spec.name] = Process.of(process.pid)
    record.save()
    _wait_for_start(record, spec, process)
    return refused


def plug(record: Record, name: str) -> bool:
    """Put the external cable back into its bridge, where somebody took it out."""
    link = external_link(name)
    shown = run(["ip", "-n", record.name, "-o", "link", "show", link], check=False)
    if not shown or "master br-ext" in shown:
        return False
    run(["ip", "-n", record.name, "link", "set", link, "master", "br-ext", "up"])
    return True


def _wait_for_start(record: Record, spec: Spec, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + START_DEADLINE_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise failure(spec, f"ended with exit code {process.returncode}")
        if leader(record, spec.name) is not None and _has_links(record, spec):
            return
        time.sleep(0.05)
    raise failure(spec, f"did not start within {START_DEADLINE_S} s")


def _has_links(record: Record, spec: Spec) -> bool:
    if not spec.external_interface:
        return True
    link = external_link(spec.name)
    return "master br-ext" in run(["ip", "-n", record.name, "link", "show", link], check=False)


def failure(spec: Spec, what: str) -> Problem:
    """The end of a guest's console belongs to the message."""
    text = spec.console.read_text(errors="replace") if spec.console.exists() else ""
    last = "\n    ".join(text.strip().splitlines()[-8:])
    return Problem(f"The guest {spec.name} {what}\n    {last}", str(spec.console), "./voip up")


def wait_until_up(record: Record, specs: Sequence[Spec]) -> None:
    """Until every guest has its addresses. Problem with the console of the first that has not."""
    deadline = time.monotonic() + START_DEADLINE_S
    for spec in specs:
        while not is_up(record, spec.name):
            process = record.guests.get(spec.name)
            if process is None or not process.is_alive():
                raise failure(spec, "ended while it booted")
            if time.monotonic() > deadline:
                raise failure(spec, f"had no network within {START_DEADLINE_S} s")
            time.sleep(0.1)


def is_up(record: Record, name: str) -> bool:
    pid = leader(record, name)
    return pid is not None and Path(f"/proc/{pid}/root/run/voip-network-ready").exists()


def leader(record: Record, name: str) -> int | None:
    """The guest's init as seen from here; it changes when the guest reboots."""
    process = record.guests.get(name)
    if process is None or not process.is_alive():
        return None
    try:
        children = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return None
    for child in children:
        try:
            status = Path(f"/proc/{child.pid}/status").read_text()
        except OSError:
            continue
        numbers = next((line.split() for line in status.splitlines() if line[:6] == "NSpid:"), [])
        if len(numbers) > 2 and numbers[-1] == "1":
            return child.pid
    return None


def enter_argv(pid: int, argv: Sequence[str], *, tty: bool = False) -> list[str]:
    """The command that runs `argv` in the guest whose init is `pid`, within its limits."""
    words = list(argv)
    terminal = os.environ.get("TERM", "dumb")
    if tty:
        # A terminal of the guest's own: the host's has no name there.
        words = ["script", "-qec", shlex.join(words), "/dev/null"]
    environment = [f"PATH={_PATH}", "HOME=/root", "USER=root", "LANG=C.UTF-8", f"TERM={terminal}"]
    inside = ["env", "-i", "-C", "/root", *environment, *words]
    options = ["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd"]
    groups = [str(group) for group in _groups(pid)]
    enter = ["nsenter", f"--target={pid}", *options, "--", *inside]
    return ["sh", "-c", _JOIN, "join", *groups, "--", *enter]


def _groups(pid: int) -> list[Path]:
    """The control groups of a process, as directories of this host."""
    found = []
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if path == "/":
            continue
        if controllers:
            tree = limits.ROOT / controllers.removeprefix("name=").split(",")[0]
        else:
            tree = limits.ROOT if limits.is_unified() else limits.ROOT / "unified"
        group = tree / path.lstrip("/")
        if group.is_dir():
            found.append(group)
    return found


def kill(record: Record, name: str) -> None:
    """End a guest at once and wait until it is gone: its files are removed next."""
    process = record.guests.get(name)
    if process is None or not process.is_alive():
        return
    inner = leader(record, name)
    if inner is not None:
        # The namespace's init takes every process of the guest with it.
        _signal(inner, signal.SIGKILL)
    if _ended(process, STOP_DEADLINE_S):
        return
    with contextlib.suppress(psutil.NoSuchProcess):
        outer = psutil.Process(process.pid)
        for child in [*outer.children(recursive=True), outer]:
            _signal(child.pid, signal.SIGKILL)
    if not _ended(process, STOP_DEADLINE_S):
        raise Problem(f"The guest {name} does not end", f"process {process.pid}", "./voip destroy")


def _ended(process: Process, deadline_s: float) -> bool:
    """Wait for a process that is nobody's child here; one that only waits to be reaped is dead."""
    deadline = time.monotonic() + deadline_s
    while process.is_alive():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
