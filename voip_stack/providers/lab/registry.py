"""The machine's record of its labs: what was made, by whom, for which checkout.

Written before anything is made, so that what a killed `up` left can be found and removed, from
any checkout. After a reboot processes and namespaces are gone: the boot id tells.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

DIRECTORY = Path("/var/lib/voip-stack/labs")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass
class Process:
    """A process by number and start time: numbers are used again."""

    pid: int
    started: float

    @classmethod
    def of(cls, pid: int) -> Process:
        return cls(pid, psutil.Process(pid).create_time())

    def is_alive(self) -> bool:
        try:
            found = psutil.Process(self.pid)
            same = abs(found.create_time() - self.started) < 1
            return same and found.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


@dataclass
class Record:
    """name: voip-<8 hex digits>, also the namespace's. link: network of the veth pair."""

    name: str
    checkout: str
    state_dir: str
    user: str
    created: str
    boot_id: str
    link: str
    # Interfaces whose forwarding this lab switched on, to be switched off again.
    forwarding: list[str] = field(default_factory=list)
    guests: dict[str, Process] = field(default_factory=dict)

    @property
    def short(self) -> str:
        return self.name.removeprefix("voip-")

    @property
    def file(self) -> Path:
        return DIRECTORY / f"{self.name}.json"

    @property
    def is_of_this_boot(self) -> bool:
        return self.boot_id == boot_id()

    @property
    def is_orphan(self) -> bool:
        """Its checkout, or the state directory in it, is gone."""
        return not Path(self.checkout).is_dir() or not Path(self.state_dir).is_dir()

    def save(self) -> None:
        DIRECTORY.mkdir(parents=True, exist_ok=True)
        temporary = self.file.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(asdict(self), indent=2) + "\n")
        temporary.replace(self.file)

    def forget(self) -> None:
        self.file.unlink(missing_ok=True)

    def has_running(self) -> bool:
        return any(process.is_alive() for process in self.guests.values())


def boot_id() -> str:
    return _BOOT_ID.read_text().strip()


def lab_name(state_dir: Path) -> str:
    """A lab's name, from where its state is: two checkouts never share one."""
    return "voip-" + hashlib.sha256(str(state_dir.resolve()).encode()).hexdigest()[:8]


def records() -> list[Record]:
    """Every lab of the machine; a file that cannot be read is left out."""
    found = []
    for file in sorted(DIRECTORY.glob("voip-*.json")):
        try:
            found.append(parse(json.loads(file.read_text())))
        except (OSError, ValueError, TypeError, KeyError):
            continue
    return found


def parse(data: dict[str, Any]) -> Record:
    guests = {name: Process(**process) for name, process in data.pop("guests", {}).items()}
    return Record(**data, guests=guests)


def find(name: str) -> Record | None:
    return next((record for record in records() if record.name == name), None)


def new(state_dir: Path, checkout: Path, link: str) -> Record:
    user = os.environ.get("SUDO_USER") or getpass.getuser()
    return Record(
        name=lab_name(state_dir),
        checkout=str(checkout),
        state_dir=str(state_dir.resolve()),
        user=user,
        created=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        boot_id=boot_id(),
        link=link,
    )
