"""Carry RTPEngine's connections to the Redis of live calls: over TLS, as this host's own user.

RTPEngine 10.5 speaks to Redis in the clear and knows no users. It connects to this process on the
loopback interface, which lets in RTPEngine's user only, and says AUTH to Redis itself. A new
password counts from the next connection on. It also has RTPEngine write all its calls anew from
time to time: SRTP packet counters are in Redis only as old as a call's last signalling otherwise,
and a Redis that was restarted holds nothing. And it mends what RTPEngine reads (`mended`). Runs as
RTPEngine's user:
`callstore_link.py SETTINGS`, a JSON file:

  port           where it listens on the loopback interface
  store          {address, port, name}: Redis, and the name in its certificate
  ca_file        who signs that
  login          a JSON file with username and password
  control_ports  of RTPEngine's command line interfaces, on the loopback interface
  restate_s      how often calls are written anew
"""

import asyncio
import contextlib
import json
import os
import ssl
import sys
from pathlib import Path

CONNECT_S = 2
PAUSE_S = 2  # between a lost Redis and the next try to write calls anew
CONTROL_S = 20
CHUNK = 65536
COUNTERS = ("in_srtp_index", "in_srtcp_index", "out_srtp_index", "out_srtcp_index")


def command(*words):
    """Return one command in Redis' protocol (RESP)."""
    parts = [f"*{len(words)}\r\n".encode()]
    for word in words:
        data = word.encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(data), data))
    return b"".join(parts)


def owner(port, own_port, table="/proc/net/tcp"):
    """Return the user id of the process that connected from 127.0.0.1:port to own_port, or None."""
    client, server = f"0100007F:{port:04X}", f"0100007F:{own_port:04X}"
    for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
        fields = line.split()
        if fields[1] == client and fields[2] == server:
            return int(fields[7])
    return None


def mended(state):
    """Return a call's state (JSON, bytes) with the SRTP counters where RTPEngine looks for them.

    10.5 writes a list `ssrc_table-N` for each party N and reads one `ssrc_table`, for every party
    (json_build_ssrc in its redis.c). Without its counters a stream that has wrapped its sequence
    number, after 22 minutes at the latest, is encrypted wrongly after a restart: silence.
    """
    try:
        tables = [
            entries for name, entries in json.loads(state).items() if name.startswith("ssrc_table-")
        ]
    except ValueError:
        return state
    found = {}
    for entry in (entry for entries in tables for entry in entries):
        known = found.setdefault(entry["ssrc"], dict(entry))
        for name in COUNTERS:
            # A stream is counted where it comes in and where it goes out; the rest is 0.
            known[name] = str(max(int(known.get(name, 0)), int(entry.get(name, 0))))
    member = b'"ssrc_table":' + json.dumps(list(found.values())).encode()
    return state[:1] + member + b"," + state[1:] if found else state


class Link:
    """settings: see the module's docstring."""

    def __init__(self, settings):
        self.settings = settings
        self.lost = asyncio.Event()

    async def upstream(self):
        """An authenticated connection to Redis. Raises OSError, ValueError."""
        store = self.settings["store"]
        context = ssl.create_default_context(cafile=self.settings["ca_file"])
        reader, writer = await asyncio.wait_for(
            asyncio.open_connection(
                store["address"], store["port"], ssl=context, server_hostname=store["name"]
            ),
            CONNECT_S,
        )
        try:
            login = json.loads(Path(self.settings["login"]).read_text(encoding="utf-8"))
            writer.write(command("AUTH", login["username"], login["password"]))
            answer = await asyncio.wait_for(reader.readline(), CONNECT_S)
            if answer != b"+OK\r\n":
                raise ValueError(f"Redis says {answer[:100].decode('utf-8', 'replace').strip()}")
        except BaseException:
            writer.close()
            raise
        return reader, writer

    async def serve(self, reader, writer):
        """One connection of RTPEngine, until either end closes it."""
        try:
            if owner(writer.get_extra_info("peername")[1], self.settings["port"]) != os.getuid():
                return
            try:
                theirs, ours = await self.upstream()
            except (OSError, ValueError, TimeoutError) as err:
                print(f"no Redis of live calls: {err}", file=sys.stderr, flush=True)
                self.lost.set()
                return
            try:
                await self.pump(reader, writer, theirs, ours)
            finally:
                ours.close()
        finally:
            writer.close()

    async def pump(self, reader, writer, theirs, ours):
        to_redis = asyncio.create_task(copy(reader, ours))
        from_redis = asyncio.create_task(replies(theirs, writer))
        done, left = await asyncio.wait((to_redis, from_redis), return_when=asyncio.FIRST_COMPLETED)
        for task in left:
            task.cancel()
        if from_redis in done and to_redis not in done:
            self.lost.set()

    async def restate(self):
        """Have calls written anew: regularly, and after Redis was lost."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.lost.wait(), self.settings["restate_s"])
                await asyncio.sleep(PAUSE_S)
            self.lost.clear()
            for port in self.settings["control_ports"]:
                # A relay that is elsewhere has no RTPEngine here.
                with contextlib.suppress(OSError, TimeoutError):
                    await asyncio.wait_for(activate(port), CONTROL_S)


async def activate(port):
    """`active`: RTPEngine owns all its calls, which is so anyway, and writes each of them."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"active\n")
        writer.write_eof()
        await reader.read()
    finally:
        writer.close()


async def replies(source, sink):
    """Carry Redis' replies, calls' states mended."""
    with contextlib.suppress(OSError, ssl.SSLError, asyncio.IncompleteReadError):
        while line := await source.readline():
            # Every reply is lines but for bulk strings; an array is its elements, one by one.
            if line.startswith(b"$") and (length := int(line[1:])) >= 0:
                data = (await source.readexactly(length + 2))[:-2]
                data = mended(data) if data.startswith(b"{") else data
                line = b"$%d\r\n%s\r\n" % (len(data), data)
            sink.write(line)
            await sink.drain()


async def copy(source, sink):
    with contextlib.suppress(OSError, ssl.SSLError):
        while data := await source.read(CHUNK):
            sink.write(data)
            await sink.drain()


async def main(path):
    settings = json.loads(Path(path).read_text(encoding="utf-8"))
    link = Link(settings)
    server = await asyncio.start_server(link.serve, "127.0.0.1", settings["port"])
    async with server:
        await asyncio.gather(server.serve_forever(), link.restate())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
