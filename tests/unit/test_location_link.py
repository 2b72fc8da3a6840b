"""The link between the proxies and the Redis of locations: who comes in, and that nobody waits."""

import asyncio
import contextlib
import importlib
import json
import os
import pwd
import ssl
import sys

import pytest

from tests.strangers import self_signed
from voip_stack import paths

for directory in ("salt/rtpengine/files", "salt/location/files"):
    sys.path.append(str(paths.checkout() / directory))
link = importlib.import_module("location_link")

NAME = "redis.voip.test"
ME = pwd.getpwuid(os.geteuid()).pw_name
LOGIN = {"username": "sip-1", "password": "of nobody else"}
PING = b"*1\r\n$4\r\nPING\r\n"


class Redis:
    """As much of it as the link speaks with: TLS, AUTH, and an answer to each command."""

    def __init__(self, room):
        certificate, key = self_signed(NAME)
        (room / "ca.crt").write_bytes(certificate)
        (room / "both.pem").write_bytes(certificate + key)
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(room / "both.pem")
        self.logins = []

    async def start(self):
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        return server, server.sockets[0].getsockname()[1]

    async def _serve(self, reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            words = await self._command(reader)
            self.logins.append(words)
            good = words == ["AUTH", *LOGIN.values()]
            writer.write(b"+OK\r\n" if good else b"-WRONGPASS\r\n")
            while await self._command(reader):
                writer.write(b"+PONG\r\n")
        writer.close()

    async def _command(self, reader):
        count = int((await reader.readuntil())[1:])
        words = []
        for _ in range(count):
            length = int((await reader.readuntil())[1:])
            words.append((await reader.readexactly(length + 2))[:-2].decode())
        return words


@pytest.fixture
def redis(tmp_path):
    return Redis(tmp_path)


@pytest.fixture
def asked(redis, tmp_path):
    """asked(times, name, users, login, is_up) -> [answer or b""] of as many connections in turn."""

    def run(times=1, name=NAME, users=(ME,), login=LOGIN, is_up=True):
        (tmp_path / "login.json").write_text(json.dumps(login))

        async def both():
            server, port = await redis.start()
            if not is_up:
                server.close()
            own = await asyncio.start_server(lambda *ends: carrier.serve(*ends), "127.0.0.1", 0)
            carrier = link.LocationLink({
                "port": own.sockets[0].getsockname()[1],
                "store": {"address": "127.0.0.1", "port": port, "name": name},
                "ca_file": str(tmp_path / "ca.crt"),
                "login": str(tmp_path / "login.json"),
                "users": list(users),
            })  # fmt: skip
            return [await _ask(carrier.settings["port"]) for _ in range(times)]

        return asyncio.run(both())

    return run


async def _ask(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.suppress(ConnectionError):
        writer.write(PING)
        answer = await asyncio.wait_for(reader.readline(), 5)
        writer.close()
        return answer
    return b""


def test_a_proxy_speaks_to_redis_without_knowing_the_password(asked, redis):
    assert asked(2) == [b"+PONG\r\n"] * 2
    assert redis.logins == [["AUTH", *LOGIN.values()]] * 2


def test_another_user_of_the_host_gets_nothing(asked, redis):
    assert asked(users=["nobody" if ME != "nobody" else "root", "who-is-none"]) == [b""]
    assert redis.logins == []


def test_another_server_is_not_told_the_password(asked, redis):
    assert asked(name="another.voip.test") == [b""]
    assert redis.logins == []


def test_after_a_refusal_nobody_waits_for_the_next(asked, redis):
    """Each connection would be one more login for Redis, and a SIP message that waits."""
    assert asked(3, login=LOGIN | {"password": "an old one"}) == [b""] * 3
    assert len(redis.logins) == 1


def test_without_redis_connections_end_at_once(asked, capsys):
    assert asked(3, is_up=False) == [b""] * 3
    assert capsys.readouterr().err.count("no Redis of locations") == 1
