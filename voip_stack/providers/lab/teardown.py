"""Remove a lab from its record alone: any checkout can, also when the lab's own is gone."""

from __future__ import annotations

import contextlib
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from voip_stack import cache
from voip_stack.problem import Problem
from voip_stack.providers.base import Progress
from voip_stack.providers.lab import limits, netns, nspawn, registry
from voip_stack.providers.lab.registry import Record

MASTER_DEADLINE_S = 15


def destroy(record: Record, progress: Progress, *, with_master: bool = False) -> None:
    """Processes, network, control groups, files, record: in this order, so that a run that was
    interrupted is finished by the next. Parts may be gone already."""
    if with_master:
        _stop_master(record)
    if record.is_of_this_boot:
        for name in list(record.guests):
            progress(f"stop {name}")
            nspawn.kill(record, name)
        _end_strays(record)
    progress("remove the network")
    others = [other for other in registry.records() if other.name != record.name]
    if record.is_of_this_boot:
        netns.switch_off_forwarding(record, others)
    netns.remove(record)
    limits.remove(record.name)
    progress("remove the guests' files")
    _remove_files(Path(record.state_dir) / "guests")
    record.forget()


def remove_guest(record: Record, name: str, root: Path, progress: Progress) -> None:
    """End one guest and remove its files. It may be gone already."""
    progress(f"remove {name}")
    nspawn.kill(record, name)
    _remove_files(root)
    if record.guests.pop(name, None) is not None:
        record.save()


def _remove_files(directory: Path) -> None:
    try:
        if directory.is_dir():
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(cache.remove, directory.iterdir()))
        cache.remove(directory)
    except OSError as error:
        raise Problem(
            f"The guests' files could not be removed: {error}",
            str(directory),
            "unmount what is named, then ./voip destroy",
        ) from error


def _end_strays(record: Record) -> None:
    """Processes still inside the lab's control groups: of a guest whose nspawn was killed."""
    for pid in limits.processes(record.name):
        with contextlib.suppress(ProcessLookupError):
            psutil.Process(pid).kill() if psutil.pid_exists(pid) else None


def _stop_master(record: Record) -> None:
    """The Salt master of another checkout, known by its configuration directory."""
    home = str(Path(record.state_dir) / "master")
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if any(word.endswith(("salt-master", "salt_master")) for word in words) and any(
            word in (home, f"--config-dir={home}") for word in words
        ):
            found.append(process)
    for process in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGTERM)
    _, alive = psutil.wait_procs(found, timeout=MASTER_DEADLINE_S)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
