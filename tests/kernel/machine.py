"""A machine with a kernel of its own: qemu without KVM, without any network card.

It is driven over a virtio port by guest_agent.py. Whatever it writes goes to a copy of the disk
that ends with it.
"""

from __future__ import annotations

import contextlib
import io
import json
import socket
import subprocess
import tarfile
import time
from pathlib import Path
from typing import Any

from tests.kernel import guest_event
from tests.kernel.image import Image

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[1]
BOOT_S = 180
EXTENSIONS = ("_modules", "_states", "_utils")


class MachineError(AssertionError):
    """The machine did not answer, or answered that it failed."""


class Machine:
    """One run of qemu. disk: written to, so a copy of the image's; it outlives the machine."""

    def __init__(self, image: Image, release: str, disk: Path, room: Path, pillar: dict):
        self.image, self.release, self.disk = image, release, disk
        self.room = room
        self.room.mkdir(parents=True, exist_ok=True)
        self.console = room / "console.log"
        (room / "payload.tar").write_bytes(payload(pillar))
        self._process: subprocess.Popen | None = None
        self._file: io.BufferedIOBase | None = None

    def __enter__(self) -> Machine:
        kernel, initrd = self.image.boot(self.release)
        port = self.room / "port"
        argv = [
            "nice", "-n", "15", "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max",
            "-smp", "2", "-m", "1536", "-nodefaults", "-no-user-config", "-display", "none",
            "-nic", "none", "-no-reboot", "-kernel", str(kernel), "-initrd", str(initrd),
            "-append", "root=/dev/vda rw console=ttyS0 quiet mitigations=off net.ifnames=0",
            "-drive", f"file={self.disk},format=raw,if=virtio,cache=unsafe",
            "-drive", f"file={self.room}/payload.tar,format=raw,if=virtio,readonly=on",
            "-serial", f"file:{self.console}", "-device", "virtio-rng-pci",
            "-device", "virtio-serial-pci", "-device", "virtserialport,chardev=p,name=voip.test",
            "-chardev", f"socket,id=p,path={port},server=on,wait=off",
        ]  # fmt: skip
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *argv], stdin=subprocess.DEVNULL
        )
        try:
            self._connect(port)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(MachineError):
            self.run("sync")
        self.stop()

    def stop(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def _connect(self, port: Path) -> None:
        deadline = time.monotonic() + BOOT_S
        while not port.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise MachineError("qemu does not start")
            time.sleep(0.05)
        link = socket.socket(socket.AF_UNIX)
        link.connect(str(port))
        link.settimeout(BOOT_S)
        self._link, self._file = link, link.makefile("rb")
        if "ready" not in self._line():
            raise MachineError("the agent says something else first")
        self.run("udevadm", "settle", timeout=BOOT_S)

    def _line(self) -> dict[str, Any]:
        try:
            line = self._file.readline()
        except TimeoutError:
            line = b""
        if not line:
            raise MachineError(f"no answer; the console's end:\n{self._console_end()}")
        return json.loads(line)

    def _console_end(self) -> str:
        return self.console.read_text(errors="replace")[-2000:] if self.console.exists() else ""

    def ask(self, order: dict[str, Any], timeout: float = 60) -> dict[str, Any]:
        self._link.settimeout(timeout + 10)
        self._link.sendall(json.dumps(order | {"timeout": timeout}).encode() + b"\n")
        answer = self._line()
        if "error" in answer:
            raise MachineError(answer.get("trace") or answer["error"])
        return answer

    def run(self, *argv: str, stdin: str = "", check: bool = True, timeout: float = 60) -> str:
        """Run a command, return its output; MachineError when it fails and `check`."""
        done = self.ask({"run": list(argv), "stdin": stdin}, timeout)
        if check and done["code"]:
            raise MachineError(f"{' '.join(argv)}: {done['err'] or done['out']}")
        return done["out"]

    def shell(self, script: str, stdin: str = "", check: bool = True, timeout: float = 60) -> str:
        return self.run("sh", "-euc", script, stdin=stdin, check=check, timeout=timeout)

    def call(self, function: str, *args: Any, timeout: float = 600, **kwargs: Any) -> Any:
        """An execution module's return, from the masterless minion inside."""
        order = {"call": function, "args": list(args), "kwargs": kwargs}
        return self.ask(order, timeout)["return"]

    def apply(self, sls: str, test: bool = False) -> dict[str, dict[str, Any]]:
        """{state ID: its return} of an SLS."""
        returns = self.call("state.apply", sls, test=test)
        if not isinstance(returns, dict):
            raise MachineError(f"{sls}: {returns}")
        return {item["__id__"]: item for item in returns.values()}

    def state(self, function: str, test: bool = False) -> dict[str, Any]:
        """The return of one state without arguments."""
        returns = self.call("state.single", function, name="kernel", test=test)
        if not isinstance(returns, dict):
            raise MachineError(f"{function}: {returns}")
        (found,) = returns.values()
        return found

    def events(self) -> list[dict[str, Any]]:
        """Events that states fired since this was last asked."""
        text = self.shell(f"cat {guest_event.FILE} 2>/dev/null || true; rm -f {guest_event.FILE}")
        return [json.loads(line) for line in text.splitlines()]

    def media(self, **order: Any) -> dict[str, Any]:
        """One call through RTPEngine (see guest_media.py)."""
        argv = ["/opt/voip-minion/bin/python", "/opt/voip-test/guest_media.py", json.dumps(order)]
        return json.loads(self.run(*argv, timeout=120))


def payload(pillar: dict[str, Any]) -> bytes:
    """What the machine gets of the checkout, as a tar file: it is the second disk."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("guest_agent.py", "guest_media.py"):
            archive.add(HERE / name, name)
        for item in (CHECKOUT / "salt").iterdir():
            if item.name in EXTENSIONS or not item.name.startswith("_"):
                archive.add(item.resolve(), f"salt/{item.name}", filter=_without_caches)
        archive.add(HERE / "guest_event.py", "salt/_modules/event.py")
        for name, text in (
            ("pillar/top.sls", json.dumps({"base": {"*": ["voip"]}})),
            ("pillar/voip.sls", json.dumps({"voip": pillar})),
        ):
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    # A disk is whole sectors.
    return buffer.getvalue().ljust(-(-buffer.tell() // 4096) * 4096, b"\0")


def _without_caches(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if "__pycache__" in entry.name else entry
