"""Start and stop the checkout's Salt master; know it by its process, not only by a number."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import yaml

from voip_stack import paths
from voip_stack.deployment import write_atomic
from voip_stack.problem import Problem

START_DEADLINE_S = 60
STOP_DEADLINE_S = 15
PROGRAM = "voip_stack.master.salt_master"
# Imported by the master's own processes: pillar, and what the reactor's threads run.
CODE = (
    "_pillar",
    "_utils",
    "_runners",
    "voip_stack/certificates",
    "voip_stack/pillar",
    "voip_stack/events",
    "voip_stack/master",
    "voip_stack/repair",
)


def record_file() -> Path:
    return paths.master_dir() / "process.json"


def log_file() -> Path:
    return paths.master_dir() / "log" / "master"


def process() -> psutil.Process | None:
    """The running master, or None. A reused process id is told apart by its start time."""
    try:
        record = json.loads(record_file().read_text())
        found = psutil.Process(record["pid"])
        same = abs(found.create_time() - record["started"]) < 1
        alive = found.status() != psutil.STATUS_ZOMBIE
    except (FileNotFoundError, ValueError, KeyError, psutil.Error):
        return None
    return found if same and alive else None


def is_running() -> bool:
    return process() is not None


def code_digest() -> str:
    """What the master has imported of this checkout: changed, the master must restart."""
    total = hashlib.sha256()
    checkout = paths.checkout()
    for folder in CODE:
        for file in sorted((checkout / folder).rglob("*.py")):
            total.update(str(file.relative_to(checkout)).encode() + b"\0" + file.read_bytes())
    return total.hexdigest()[:16]


def is_outdated() -> bool:
    """Whether the running master works with code that is no longer the checkout's."""
    try:
        return json.loads(record_file().read_text()).get("code") != code_digest()
    except (FileNotFoundError, ValueError):
        return False


def options() -> dict:
    """The configuration as written; Problem when there is none."""
    try:
        return yaml.safe_load((paths.master_dir() / "master").read_text())
    except FileNotFoundError:
        raise Problem(
            "The Salt master is not set up", str(paths.master_dir()), "./voip up"
        ) from None


def start() -> bool:
    """Start the master and wait until it answers. Returns False when it was running."""
    if is_running():
        return False
    wanted = options()
    home = paths.master_dir()
    with open(home / "log" / "start", "wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", PROGRAM, "-c", str(home), "-l", "warning"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=_environment(home),
            # Its own session: Ctrl-C in `./voip up` must not reach it.
            start_new_session=True,
        )
    started = psutil.Process(child.pid).create_time()
    record = {"pid": child.pid, "started": started, "code": code_digest()}
    write_atomic(record_file(), json.dumps(record), 0o600)
    try:
        _wait(child, wanted)
    except BaseException:
        stop()
        raise
    return True


def _environment(home: Path) -> dict[str, str]:
    """Ours, and a place for bytecode: Salt's loader compiles its modules anew otherwise, for every
    orchestration. Not beside the sources: the file server serves those folders."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPYCACHEPREFIX": str(home / "cache" / "bytecode")}


def _wait(child: subprocess.Popen, wanted: dict) -> None:
    deadline = time.monotonic() + START_DEADLINE_S
    events = Path(wanted["sock_dir"]) / "master_event_pub.ipc"
    while not (events.exists() and _listens(wanted["interface"], wanted["ret_port"])):
        if child.poll() is not None or time.monotonic() > deadline:
            raise Problem(
                f"The Salt master did not start: {_last_words()}",
                str(log_file()),
                "read the log; a port in use by another master is named there",
            )
        time.sleep(0.1)


def _listens(address: str, port: int) -> bool:
    target = "127.0.0.1" if address == "0.0.0.0" else address  # noqa: S104 - compared, not bound
    try:
        with socket.create_connection((target, port), timeout=1):
            return True
    except OSError:
        return False


def _last_words() -> str:
    for file in (paths.master_dir() / "log" / "start", log_file()):
        if file.exists() and (lines := file.read_text(errors="replace").strip().splitlines()):
            return lines[-1][-300:]
    return "no output"


def stop() -> bool:
    """Stop the master and its workers. Returns False when none was running."""
    found = process()
    if found is None:
        record_file().unlink(missing_ok=True)
        return False
    family = [found, *found.children(recursive=True)]
    with contextlib.suppress(ProcessLookupError):
        os.kill(found.pid, signal.SIGTERM)
    _, alive = psutil.wait_procs(family, timeout=STOP_DEADLINE_S)
    for survivor in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            survivor.kill()
    psutil.wait_procs(alive, timeout=5)
    record_file().unlink(missing_ok=True)
    return True
