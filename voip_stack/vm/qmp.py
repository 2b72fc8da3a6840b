"""qemu's monitor: the few commands that freeze a machine into a file (QEMU's QMP reference)."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any

ANSWER_S = 30
MIGRATE_S = 300
# The format of a disk that is a layer on another one, and the end of its file's name.
LAYER = "qcow2"


class MonitorError(RuntimeError):
    """qemu refused a command, or did not finish it in time."""


class Monitor:
    """A connection to qemu's -qmp socket; closed by `with`."""

    def __init__(self, path: Path):
        self._link = socket.socket(socket.AF_UNIX)
        self._link.settimeout(ANSWER_S)
        self._link.connect(str(path))
        self._file = self._link.makefile("rb")
        self._line()  # the greeting
        self.do("qmp_capabilities")

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, *error: object) -> None:
        self._link.close()

    def do(self, command: str, **arguments: Any) -> Any:
        order = {"execute": command, "arguments": arguments}
        self._link.sendall(json.dumps(order).encode() + b"\n")
        while True:
            answer = self._line()
            if "error" in answer:
                raise MonitorError(f"{command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def freeze(self, file: Path) -> None:
        """Stop the machine and write its memory and devices to `file`."""
        self.do("stop")
        self.do("migrate-set-parameters", **{"max-bandwidth": 8 << 30})
        self.do("migrate", uri=f"exec:cat > '{file}'")
        self._until("query-migrate", {"completed"}, {"failed", "cancelled"})

    def add_layer(self, disk: Path) -> None:
        """Stop the machine; what the first disk is written from then on goes to a new file."""
        self.do("stop")
        self.do("blockdev-snapshot-sync", device="virtio0", format=LAYER,
                **{"snapshot-file": str(disk)})  # fmt: skip

    def thaw(self) -> None:
        """Go on where `freeze` stopped, in a qemu that was started with -incoming."""
        self._until("query-status", {"paused", "postmigrate"}, {"internal-error"})
        self.do("cont")

    def _until(self, query: str, good: set[str], bad: set[str]) -> None:
        deadline = time.monotonic() + MIGRATE_S
        while (status := self.do(query).get("status")) not in good:
            if status in bad or time.monotonic() > deadline:
                raise MonitorError(f"{query} says {status}")
            time.sleep(0.05)

    def _line(self) -> dict[str, Any]:
        line = self._file.readline()
        if not line:
            raise MonitorError("qemu has ended")
        return json.loads(line)
