"""Simulated minions: Salt's own channels, and one function.

Each has its connections, its session with the master and its own id, so that the master cannot
tell it from a whole minion; it loads no module but answers `test.ping` by itself. All share one
process, a hundred times smaller than as many salt-minions.
"""

from __future__ import annotations

import asyncio
import fnmatch
import time
from multiprocessing.connection import Connection
from typing import Any

CONNECT_AT_ONCE = 5
TIMEOUT_S = 120


class Simulated:
    """One minion. opts: of this minion (id, pki_dir, master_uri, publish_port)."""

    def __init__(self, opts: dict[str, Any]):
        self.opts, self.name = opts, opts["id"]

    async def connect(self) -> None:
        """Authenticate, subscribe to jobs, and be able to answer."""
        import salt.channel.client
        import tornado.ioloop

        loop = tornado.ioloop.IOLoop.current()
        self.jobs = salt.channel.client.AsyncPubChannel.factory(self.opts, io_loop=loop)
        self.master = salt.channel.client.AsyncReqChannel.factory(self.opts, io_loop=loop)
        await self.jobs.connect()
        self.jobs.on_recv(self._job)
        await self.master.connect()

    async def _job(self, payload: dict[str, Any]) -> None:
        job = payload["load"]
        if not self._is_meant(job):
            return
        pings = job["fun"] == "test.ping"
        answer = {"fun": job["fun"], "fun_args": job.get("arg", []), "jid": job["jid"]}
        answer |= {"return": True if pings else {}, "retcode": 0, "success": True}
        await self.send({"cmd": "_return", **answer})

    def _is_meant(self, job: dict[str, Any]) -> bool:
        if job.get("tgt_type", "glob") == "list":
            return self.name in job["tgt"]
        return fnmatch.fnmatch(self.name, str(job["tgt"]))

    async def send(self, load: dict[str, Any]) -> None:
        await self.master.send({"id": self.name, **load}, timeout=TIMEOUT_S)

    async def fire(self, tag: str, data: dict[str, Any]) -> None:
        """As `event.fire_master` of a minion does it."""
        await self.send({"cmd": "_minion_event", "tag": tag, "data": data})


def work(options: list[dict[str, Any]], orders: Connection) -> None:
    """The whole work of a process: its minions connect, then do what comes by `orders`.

    An order is (kind, tag, data, count): each minion fires the event `count` times. kind "signed":
    data is the event's, signed by the host whose key it is. The answer is when the first was sent.
    """
    asyncio.run(_work(options, orders))


async def _work(options: list[dict[str, Any]], orders: Connection) -> None:
    minions = [Simulated(entry) for entry in options]
    for start in range(0, len(minions), CONNECT_AT_ONCE):
        await asyncio.gather(*(m.connect() for m in minions[start : start + CONNECT_AT_ONCE]))
    orders.send("ready")
    loop = asyncio.get_running_loop()
    while order := await loop.run_in_executor(None, orders.recv):
        began = time.time()
        await asyncio.gather(*(_fire(minion, *order) for minion in minions))
        orders.send(began)


async def _fire(minion: Simulated, signer: str, tag: str, data: dict[str, Any], count: int) -> None:
    for _ in range(count):
        await minion.fire(tag, _signed(minion.opts, signer, tag, data) if signer else data)


def _signed(opts: dict[str, Any], signer: str, tag: str, data: dict[str, Any]) -> dict[str, Any]:
    import voip_event

    return voip_event.signed({**opts, "id": signer}, tag.removeprefix("voip/event/"), **data)
