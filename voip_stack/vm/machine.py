"""A machine with a kernel of its own: qemu without KVM, without any network card.

It is driven over a virtio port by guest/agent.py. Whatever it writes goes to a layer on the disk
that ends with it.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from voip_stack.vm.guest import event as guest_event
from voip_stack.vm.qmp import LAYER, Monitor

# Deadlines for a machine that is emulated on a host with other work; nobody waits for them.
BOOT_S = 600
SLOW_S = 900
CPUCLOCK_SCHED = 2
APPEND = "root=/dev/vda rw console=ttyS0 quiet mitigations=off net.ifnames=0 tsc=reliable"
PYTHON = "/opt/voip-minion/bin/python"


class MachineError(AssertionError):
    """The machine did not answer, or answered that it failed."""


def command(room: Path, kernel: Path, initrd: Path, disk: Path) -> list[str]:
    """qemu's arguments. Frozen machines are thawed with the same ones.

    One CPU without wide vectors, and no emulated timer to be read for the time: a boot and a build
    are cheaper so.
    """
    return [
        "qemu-system-x86_64", "-accel", "tcg", "-cpu", "Westmere",
        "-smp", "1", "-m", "1024", "-nodefaults", "-no-user-config", "-display", "none",
        "-nic", "none", "-no-reboot", "-kernel", str(kernel), "-initrd", str(initrd),
        "-append", APPEND,
        "-drive", f"file={disk},format={_format(disk)},if=virtio,cache=unsafe",
        "-serial", f"file:{room}/console.log", "-device", "virtio-rng-pci",
        "-device", "virtio-serial-pci", "-device", "virtserialport,chardev=p,name=voip.test",
        "-chardev", f"socket,id=p,path={room}/port,server=on,wait=off",
        "-qmp", f"unix:{room}/qmp,server=on,wait=off",
    ]  # fmt: skip


def layer(base: Path, target: Path) -> Path:
    """A disk that starts as `base` and holds what is written: `base` must stay as it is."""
    argv = ["qemu-img", "create", "-q", "-f", LAYER, "-b", str(base), "-F", _format(base)]
    subprocess.run([*argv, str(target)], check=True)
    return target


def _format(disk: Path) -> str:
    return LAYER if disk.suffix == f".{LAYER}" else "raw"


class Machine:
    """One run of qemu, from power-on, or from `memory`, where an earlier one was frozen.

    disk: written to. room: its sockets and console; a short path (a socket's name has 107 bytes).
    """

    def __init__(self, boot: tuple[Path, Path], disk: Path, room: Path, memory: Path | None = None):
        self.boot, self.disk, self.room, self.memory = boot, disk, room, memory
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> Machine:
        argv = ["nice", "-n", "10", *command(self.room, *self.boot, self.disk)]
        if self.memory:
            argv += ["-incoming", f"exec:cat '{self.memory}'"]
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        try:
            self._connect()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        if self.is_running():
            with contextlib.suppress(MachineError, OSError):
                self.run("sync")
        self.stop()

    def stop(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def _connect(self) -> None:
        deadline = time.monotonic() + BOOT_S
        port, monitor = self.room / "port", self.room / "qmp"
        while not (port.exists() and monitor.exists()):
            if not self.is_running() or time.monotonic() > deadline:
                raise MachineError("qemu does not start")
            time.sleep(0.05)
        link = socket.socket(socket.AF_UNIX)
        link.connect(str(port))
        link.settimeout(BOOT_S)
        self._link, self._file = link, link.makefile("rb")
        if self.memory:
            with Monitor(monitor) as qemu:
                qemu.thaw()
        elif "ready" not in self._line():
            raise MachineError("the agent says something else first")
        else:
            self.run("udevadm", "settle")
        self.run("date", "--set", f"@{time.time():.0f}")

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def freeze(self, memory: Path) -> None:
        """Write memory and devices to a file, and end: the disk goes with it."""
        self.run("sync")
        with Monitor(self.room / "qmp") as qemu:
            qemu.freeze(memory)
        self.stop()

    def fork(self, room: Path) -> Machine:
        """A machine that goes on from here, beside this one, once it is entered."""
        self.run("sync")
        memory, before = room / "memory", self.disk
        with Monitor(self.room / "qmp") as qemu:
            self.disk = before.with_name(f"{before.stem}-{room.name}.{LAYER}")
            qemu.add_layer(self.disk)
            qemu.freeze(memory)
            qemu.thaw()
        return Machine(self.boot, layer(before, room / f"disk.{LAYER}"), room, memory)

    def cpu_s(self) -> float:
        """CPU seconds that qemu has used: what the machine's work costs, whoever else runs here."""
        if self._process is None:
            raise MachineError("the machine is off")
        # The clock of another process' CPU time, as clock_getcpuclockid(3) names it.
        return time.clock_gettime((~self._process.pid << 3) | CPUCLOCK_SCHED)

    @contextlib.contextmanager
    def in_front(self) -> Iterator[None]:
        """Of ordinary priority meanwhile, which needs root where it has less.

        Of what comes in real time a machine loses a part that waits for the host's other work.
        """
        if self._process is None:
            raise MachineError("the machine is off")
        tasks = [int(task.name) for task in Path(f"/proc/{self._process.pid}/task").iterdir()]
        before = {task: os.getpriority(os.PRIO_PROCESS, task) for task in tasks}
        for task in tasks:
            os.setpriority(os.PRIO_PROCESS, task, 0)
        try:
            yield
        finally:
            for task, priority in before.items():
                with contextlib.suppress(ProcessLookupError):
                    os.setpriority(os.PRIO_PROCESS, task, priority)

    def _line(self) -> dict[str, Any]:
        try:
            line = self._file.readline()
        except TimeoutError:
            line = b""
        if not line:
            raise MachineError(f"no answer; the console's end:\n{self._console_end()}")
        return json.loads(line)

    def _console_end(self) -> str:
        console = self.room / "console.log"
        return console.read_text(errors="replace")[-2000:] if console.exists() else ""

    def ask(self, order: dict[str, Any], timeout: float = SLOW_S) -> dict[str, Any]:
        self._link.settimeout(timeout + 30)
        self._link.sendall(json.dumps(order | {"timeout": timeout}).encode() + b"\n")
        answer = self._line()
        if "error" in answer:
            raise MachineError(answer.get("trace") or answer["error"])
        return answer

    def unpack(self, payload: bytes) -> None:
        """Give it the checkout's states, see payload.py."""
        self.ask({"payload": base64.b64encode(payload).decode()})

    def run(self, *argv: str, stdin: str = "", check: bool = True, timeout: float = SLOW_S) -> str:
        """Run a command, return its output; MachineError when it fails and `check`."""
        done = self.ask({"run": list(argv), "stdin": stdin}, timeout)
        if check and done["code"]:
            raise MachineError(f"{' '.join(argv)}: {done['err'] or done['out']}")
        return done["out"]

    def shell(
        self, script: str, stdin: str = "", check: bool = True, timeout: float = SLOW_S
    ) -> str:
        return self.run("sh", "-euc", script, stdin=stdin, check=check, timeout=timeout)

    def call(self, function: str, *args: Any, timeout: float = SLOW_S, **kwargs: Any) -> Any:
        """An execution module's return, from the masterless minion inside."""
        order = {"call": function, "args": list(args), "kwargs": kwargs}
        return self.ask(order, timeout)["return"]

    def beacon(self, name: str, **config: Any) -> list[dict[str, Any]]:
        """The events that a beacon would send now."""
        settings = [{key: value} for key, value in config.items()]
        return self.ask({"beacon": name, "config": settings})["return"]

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
        """Events that were sent to the master since this was last asked: {tag, data}."""
        text = self.shell(f"cat {guest_event.FILE} 2>/dev/null || true; rm -f {guest_event.FILE}")
        return [json.loads(line) for line in text.splitlines()]

    def media(self, **order: Any) -> dict[str, Any]:
        """One call through RTPEngine (see guest/media.py)."""
        argv = [PYTHON, "/opt/voip-test/media.py", json.dumps(order)]
        return json.loads(self.run(*argv, timeout=SLOW_S))
