"""The outside end of a test call: runs baresip where the call starts, on orders from the host.

The host sends this file to the guest on standard input, followed by orders, one JSON object a
line; answers and events go back on standard output the same way. Nothing is installed in the
guest, and nothing stays: when the orders end (end of file, a signal, the host's death), every user
agent is ended by its pid and the directory in memory is removed. Standard library only.

Orders: {"id": 1, "op": ..., ...}; each is answered by {"id": 1, "ok": bool, ...}.
  open     ua, config, files, names, ipv6: start a user agent; files ({name: text}) beside its
           config, names ({name: addresses, with spaces between}) is all that its DNS knows; ipv6:
           it speaks that and no IPv4
  command  ua, command, params, quiet: pass a command to baresip's ctrl_tcp
  sockets  ua: the TCP connections of that user agent
  read     ua, name: a file of its directory, base64
  latest   ua, name, bytes: the end of a growing file, base64, no more than is new since the last
           such order; what came before is given back to the memory
  close    ua: end that user agent
Events: {"ua": "a", "t": monotonic seconds, "event": {...} | "log": "..." | "exit": code}
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

START_DEADLINE_S = 5.0
STOP_DEADLINE_S = 2.0
# Room for one recording in one line: 60 s of 16 kHz PCM is 1.9 MB, a third more in base64.
LINE_LIMIT = 16 * 1024 * 1024
# baresip writes a call's status over itself, "[0:11:40] audio=64000/64000 (bit/s)" and a carriage
# return twice a second: a line without an end, and no news.
LINE_END = re.compile(rb"[\r\n]+")
STATUS = re.compile(r"\[\d+:\d\d:\d\d\] ")


def encode_netstring(payload: bytes) -> bytes:
    """Frame a payload as ctrl_tcp wants it: `<length>:<payload>,`."""
    return b"%d:%s," % (len(payload), payload)


class Netstrings:
    """Take a byte stream apart into netstrings. Raises ValueError when it is none."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> list[bytes]:
        self._buffer += data
        found: list[bytes] = []
        while True:
            head, colon, rest = self._buffer.partition(b":")
            if not colon:
                if len(head) > 9 or (head and not head.isdigit()):
                    raise ValueError(f"no netstring: {head[:20]!r}")
                return found
            if not head.isdigit() or len(head) > 9:
                raise ValueError(f"no netstring: {head[:20]!r}")
            length = int(head)
            if len(rest) <= length:
                return found
            if rest[length : length + 1] != b",":
                raise ValueError("no netstring: its closing comma is missing")
            found.append(rest[:length])
            self._buffer = rest[length + 1 :]


def dns_answer(query: bytes, names: dict[str, str]) -> bytes | None:
    """Answer one DNS query (RFC 1035) from a table of addresses; None when it is no query.

    baresip resolves by DNS only and looks at no hosts file; verifying a certificate by name needs
    the name. A known name gets the A and AAAA (RFC 3596) records that it has and an empty answer
    for other types, any other name gets NXDOMAIN.
    """
    if len(query) < 17 or query[2] & 0x80 or struct.unpack_from("!H", query, 4)[0] != 1:
        return None
    labels, at = [], 12
    while at < len(query) and query[at]:
        size = query[at]
        labels.append(query[at + 1 : at + 1 + size].decode("ascii", "replace"))
        at += 1 + size
    if at + 5 > len(query):
        return None
    question = query[12 : at + 5]
    kind = struct.unpack_from("!H", query, at + 1)[0]
    addresses = names.get(".".join(labels).lower(), "").split()
    code = 0 if addresses else 3
    record = b""
    for address in addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        if kind == (28 if family == socket.AF_INET6 else 1):
            data = socket.inet_pton(family, address)
            record = struct.pack("!HHHIH", 0xC00C, kind, 1, 60, len(data)) + data
    flags = 0x8580 | code
    return query[:2] + struct.pack("!HHHHH", flags, 1, bool(record), 0, 0) + question + record


def parse_tcp_table(text: str, inodes: set[str]) -> list[dict[str, str]]:
    """The established connections of /proc/net/tcp or tcp6 whose socket inode is in `inodes`."""
    found = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] == "01" and fields[9] in inodes:
            found.append({"local": _endpoint(fields[1]), "remote": _endpoint(fields[2])})
    return found


def _endpoint(text: str) -> str:
    address, port = text.split(":")
    words = [int(address[at : at + 8], 16) for at in range(0, len(address), 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    if len(words) == 1:
        return f"{socket.inet_ntoa(packed)}:{int(port, 16)}"
    return f"[{socket.inet_ntop(socket.AF_INET6, packed)}]:{int(port, 16)}"


def _socket_inodes(pid: int) -> set[str]:
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            target = entry.readlink().name
            if target.startswith("socket:["):
                found.add(target[8:-1])
    return found


def tcp_connections(pid: int) -> list[dict[str, str]]:
    """A process' established TCP connections, {"local", "remote"}, in whatever network it is."""
    inodes = _socket_inodes(pid)
    tables = [Path(f"/proc/{pid}/net/{name}") for name in ("tcp", "tcp6")]
    return [
        row
        for table in tables
        if table.exists()  # no tcp6 on a host without IPv6
        for row in parse_tcp_table(table.read_text(), inodes)
    ]


class NameServer(asyncio.DatagramProtocol):
    """A name server on loopback that knows the proxy and nothing else."""

    def __init__(self, names: dict[str, str]):
        self.names = names
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.DatagramTransport):
            self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        answer = dns_answer(data, self.names)
        if answer is not None and self.transport is not None:
            self.transport.sendto(answer, addr)


class UserAgent:
    """One baresip process with its directory, its control connection and its output."""

    def __init__(self, name: str, directory: Path, emit: Callable[[dict], None]):
        self.name = name
        self.directory = directory
        self.emit = emit
        self._process: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self.waiting: dict[str, asyncio.Future] = {}
        self.tasks: list[asyncio.Task] = []
        self.names: asyncio.DatagramTransport | None = None
        self._taken: dict[str, int] = {}

    @property
    def process(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise RuntimeError("baresip was not started")
        return self._process

    @property
    def writer(self) -> asyncio.StreamWriter:
        if self._writer is None:
            raise RuntimeError("baresip has no control connection")
        return self._writer

    async def start(
        self, config: str, files: dict[str, str], names: dict[str, str], ipv6: bool
    ) -> int:
        loop = asyncio.get_running_loop()
        self.names, _ = await loop.create_datagram_endpoint(
            lambda: NameServer(names), local_addr=("127.0.0.1", 0)
        )
        dns_port = self.names.get_extra_info("sockname")[1]
        control_port = _free_port()
        self.directory.mkdir(mode=0o700)
        config = config.replace("@DIR@", str(self.directory))
        config = config.replace("@DNS@", f"127.0.0.1:{dns_port}")
        config = config.replace("@CONTROL@", f"127.0.0.1:{control_port}")
        for name, text in {**files, "config": config}.items():
            (self.directory / Path(name).name).write_text(text)
        self._process = await asyncio.create_subprocess_exec(
            "baresip",
            "-6" if ipv6 else "-4",
            "-f",
            str(self.directory),
            cwd=self.directory,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        self.tasks.append(loop.create_task(self._read_output()))
        reader, self._writer = await self._connect(control_port)
        self.tasks.append(loop.create_task(self._read_control(reader)))
        return self.process.pid

    async def _connect(self, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        deadline = time.monotonic() + START_DEADLINE_S
        while True:
            try:
                return await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                if self.process.returncode is not None:
                    raise RuntimeError(f"baresip ended ({self.process.returncode})") from None
                if time.monotonic() > deadline:
                    raise RuntimeError("baresip opened no control port") from None
                await asyncio.sleep(0.01)

    async def _read_output(self) -> None:
        output, rest = self.process.stdout, b""
        while output is not None and (data := await output.read(65536)):
            *lines, rest = LINE_END.split(rest + data)
            for line in lines:
                self._log(line)
        self._log(rest)
        code = await self.process.wait()
        self.emit({"ua": self.name, "exit": code})
        for future in self.waiting.values():
            if not future.done():
                future.set_exception(RuntimeError(f"baresip ended ({code})"))

    def _log(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").strip()
        if text and not STATUS.match(text):
            self.emit({"ua": self.name, "log": text})

    async def _read_control(self, reader: asyncio.StreamReader) -> None:
        frames = Netstrings()
        while data := await reader.read(65536):
            for frame in frames.feed(data):
                message = json.loads(frame.decode("utf-8", "replace"))
                if message.get("event"):
                    message.pop("event")
                    self.emit({"ua": self.name, "event": message})
                elif message.get("response"):
                    future = self.waiting.pop(message.get("token", ""), None)
                    if future is not None and not future.done():
                        future.set_result(message)

    async def command(self, token: str, command: str, params: str | None) -> dict:
        order = {"command": command, "token": token}
        if params:
            order["params"] = params
        future = asyncio.get_running_loop().create_future()
        self.waiting[token] = future
        self.writer.write(encode_netstring(json.dumps(order).encode()))
        await self.writer.drain()
        return await asyncio.wait_for(future, START_DEADLINE_S)

    def sockets(self) -> list[dict[str, str]]:
        return tcp_connections(self.process.pid)

    def latest(self, name: str, size: int) -> bytes:
        """The last `size` bytes that were written to a file since the last call, and empty it.

        The writer goes on at its own offset: what lies before becomes a hole.
        """
        with open(self.directory / Path(name).name, "r+b") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(end - size, self._taken.get(name, 0)))
            data = file.read()
            self._taken[name] = end
            file.truncate(0)
        return data

    async def stop(self) -> None:
        """End the process by its pid, gently first; remove its directory."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.terminate()
            try:
                await asyncio.wait_for(self.process.wait(), STOP_DEADLINE_S)
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    self.process.kill()
                await self.process.wait()
        if self._writer is not None:
            self._writer.close()
        if self.names is not None:
            self.names.close()
        for task in self.tasks:
            task.cancel()
        shutil.rmtree(self.directory, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Agent:
    """Carry out orders until they end, then leave nothing behind."""

    def __init__(self, out: TextIO):
        memory = "/dev/shm"  # noqa: S108  (a tmpfs: recordings and configs never reach a disk)
        self.directory = Path(
            tempfile.mkdtemp(prefix="voip-call-", dir=memory if os.path.isdir(memory) else None)
        )
        self.out = out
        self.agents: dict[str, UserAgent] = {}

    def emit(self, message: dict) -> None:
        message.setdefault("t", round(time.monotonic(), 6))
        with contextlib.suppress(BrokenPipeError, ValueError):
            self.out.write(json.dumps(message) + "\n")
            self.out.flush()

    async def answer(self, line: bytes) -> None:
        order = json.loads(line)
        try:
            result = await self._do(order)
        except Exception as err:  # every order is answered, whatever went wrong
            result = {"ok": False, "error": f"{type(err).__name__}: {err}"}
        self.emit({"id": order.get("id"), "ok": True} | result)

    async def _do(self, order: dict) -> dict:
        name = order["ua"]
        if order["op"] == "open":
            agent = UserAgent(name, self.directory / name, self.emit)
            self.agents[name] = agent
            told = [order[name] for name in ("config", "files", "names", "ipv6")]
            return {"pid": await agent.start(*told)}
        agent = self.agents[name]
        if order["op"] == "command":
            reply = await agent.command(str(order["id"]), order["command"], order.get("params"))
            # `uanew` echoes the account with its password: such answers stay here.
            data = "" if order.get("quiet") else reply.get("data", "")
            return {"ok": bool(reply.get("ok")), "data": data}
        if order["op"] == "sockets":
            return {"sockets": agent.sockets()}
        if order["op"] == "read":
            path = agent.directory / Path(order["name"]).name
            return {"data": base64.b64encode(path.read_bytes()).decode()}
        if order["op"] == "latest":
            data = agent.latest(order["name"], order["bytes"])
            return {"data": base64.b64encode(data).decode()}
        if order["op"] == "close":
            await agent.stop()
            return {}
        raise ValueError(f"no such order: {order['op']}")

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=LINE_LIMIT)
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        ended = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, ended.set)
        tasks: set[asyncio.Task] = set()
        stop = loop.create_task(ended.wait())
        self.emit({"ready": True, "pid": os.getpid()})
        try:
            while True:
                line = loop.create_task(reader.readline())
                await asyncio.wait({line, stop}, return_when=asyncio.FIRST_COMPLETED)
                if stop.done() or not line.result():
                    line.cancel()
                    break
                task = loop.create_task(self.answer(line.result()))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
        finally:
            stop.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*(agent.stop() for agent in self.agents.values()))
            shutil.rmtree(self.directory, ignore_errors=True)


def main() -> None:
    asyncio.run(Agent(sys.stdout).run())


if __name__ == "__main__":
    main()
