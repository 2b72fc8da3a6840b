"""Carry the proxies' connections to Redis: over TLS, as this host's own user.

Neither proxy's Redis client can do both. They connect to this process on the loopback interface,
which lets in the proxies' users only, and says AUTH to Redis itself. What Redis does not answer is
told at once, by the end of the connection, for a moment after it failed: no SIP message waits for
it. `location_link.py SETTINGS`, a JSON file:

  port     where it listens on the loopback interface
  store    {address, port, name}: Redis, and the name in its certificate
  ca_file  who signs that
  login    a JSON file with username and password, in the directory of systemd's credentials
  users    names of those who may come
"""

import asyncio
import contextlib
import json
import os
import pwd
import sys
from pathlib import Path

from callstore_link import Link, copy, owner

AWAY_S = 2


class LocationLink(Link):
    """settings: see the module's docstring."""

    def __init__(self, settings):
        super().__init__(settings)
        self._away_until = 0.0

    def _is_let_in(self, uid):
        with contextlib.suppress(KeyError, TypeError):
            return pwd.getpwuid(uid).pw_name in self.settings["users"]
        return False

    async def serve(self, reader, writer):
        """One connection of a proxy, until either end closes it."""
        now = asyncio.get_running_loop().time
        try:
            peer = owner(writer.get_extra_info("peername")[1], self.settings["port"])
            if now() < self._away_until or not self._is_let_in(peer):
                return
            try:
                theirs, ours = await self.upstream()
            except (OSError, ValueError, TimeoutError) as err:
                print(f"no Redis of locations: {err}", file=sys.stderr, flush=True)
                self._away_until = now() + AWAY_S
                return
            try:
                both = [asyncio.create_task(copy(reader, ours)),
                        asyncio.create_task(copy(theirs, writer))]  # fmt: skip
                _, left = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                for task in left:
                    task.cancel()
            finally:
                ours.close()
        finally:
            writer.close()


async def main(path):
    settings = json.loads(Path(path).read_text(encoding="utf-8"))
    settings["login"] = os.path.join(os.environ["CREDENTIALS_DIRECTORY"], settings["login"])
    link = LocationLink(settings)
    server = await asyncio.start_server(link.serve, "127.0.0.1", settings["port"])
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
