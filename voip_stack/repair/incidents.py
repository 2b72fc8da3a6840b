"""The record of incidents: what was seen, what was done, how long it took; with its evidence.

An incident is written when something is done, and again when it ends: what a killed master had
begun shows as open.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from voip_stack.deployment import write_atomic
from voip_stack.events import record

RECORD = "incidents"
KEPT_EVIDENCE = 200


@dataclass
class Incident:
    """began: epoch of the first failed probe. outcome: open, repaired, recovered, waiting, left,
    degraded, failed. done: what was done, in order."""

    host: str
    service: str
    seen: str
    by: str
    began: float = field(default_factory=time.time)
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    done: list[str] = field(default_factory=list)
    outcome: str = "open"
    why: str = ""
    took_s: float | None = None
    evidence: str | None = None

    def write(self) -> None:
        record.append(RECORD, asdict(self))

    def close(self, outcome: str, why: str) -> Incident:
        self.outcome, self.why = outcome, why
        self.took_s = round(time.time() - self.began, 2)
        self.write()
        return self

    def keep_evidence(self, text: str) -> None:
        """Put what the host showed beside the record, for the operator alone."""
        folder = evidence_dir()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(folder / f"{self.id}.txt", text, 0o600)
        self.evidence = f"{folder.name}/{self.id}.txt"
        kept = sorted(folder.glob("*.txt"), key=lambda path: path.stat().st_mtime)
        for old in kept[:-KEPT_EVIDENCE]:
            with contextlib.suppress(FileNotFoundError):
                old.unlink()


def evidence_dir() -> Path:
    return record.directory() / "evidence"


def read(since: float = 0.0) -> list[dict[str, Any]]:
    """Incidents by their latest line, oldest first. since: epoch of when they ended or began."""
    latest: dict[str, dict[str, Any]] = {}
    for entry in record.read(RECORD, since):
        latest[entry["id"]] = entry
    return sorted(latest.values(), key=lambda entry: entry["began"])
