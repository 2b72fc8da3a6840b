"""Registrations at scale: rates, sizes, the devices of the bench against a real socket."""

import asyncio
import json
import re
import ssl
import sys
from dataclasses import replace

import pytest

from tests.strangers import self_signed
from voip_stack import outside, paths
from voip_stack.bench import agents
from voip_stack.malformed.wire import Target
from voip_stack.pillar import load, proxy_size
from voip_stack.pillar.components import Capacity
from voip_stack.problem import Problem

# -------------------------------------------------------------------- rates and sizes


def test_a_proxy_is_as_large_as_what_it_is_to_hold():
    small = proxy_size.sizes(Capacity(contacts=1000, connections=100), 16384)
    large = proxy_size.sizes(Capacity(contacts=1_000_000, connections=100), 16384)
    wide = proxy_size.sizes(Capacity(contacts=1000, connections=50_000), 16384)
    assert small["shm_mib"] < large["shm_mib"] < wide["shm_mib"]
    assert wide["open_files"] > 50_000
    for contacts, found in ((1000, small), (1_000_000, large)):
        entries = contacts / 2 ** found["location_slots"]
        assert proxy_size.SLOT_ENTRIES / 2 < entries <= proxy_size.SLOT_ENTRIES


def test_what_the_pillar_says_fits_its_proxies():
    pillar = load(paths.pillar_dir())
    assert pillar.kamailio.capacity.contacts >= 100_000
    assert pillar.kamailio.capacity.connections >= 5000
    assert pillar.toll.connections_per_source < pillar.kamailio.capacity.connections


# -------------------------------------------------------------------- the devices


class Registrar:
    """A TLS server that sheds each device's first request, then challenges, then accepts."""

    def __init__(self):
        self.heard = []

    async def serve(self, reader, writer):
        while True:
            try:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            self.heard.append(head)
            writer.write(self.answer(head).encode())

    def answer(self, head):
        copied = re.findall(r"(?m)^((?:Via|From|To|Call-ID|CSeq): .*)\r$", head)
        cseq = int(re.search(r"CSeq: (\d+)", head)[1])
        if head.startswith("OPTIONS") or "Authorization:" in head:
            status, more = "200 OK", []
        elif cseq == 1:
            status, more = "503 Too Many Registrations", ["Retry-After: 1"]
        else:
            status, more = "401 Unauthorized", ['WWW-Authenticate: Digest realm="d", nonce="n"']
        return "\r\n".join([f"SIP/2.0 {status}", *copied, *more, "Content-Length: 0", "", ""])


@pytest.fixture
def crowd(tmp_path):
    """crowd(what) -> what the devices say after `what` was asked of them, and what was heard."""
    certificate, key = self_signed("localhost")
    for name, data in (("crt", certificate), ("key", key)):
        (tmp_path / name).write_bytes(data)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "crt", tmp_path / "key")

    async def run(words):
        registrar = Registrar()
        server = await asyncio.start_server(registrar.serve, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        target = Target("127.0.0.1", {"tls": port}, "localhost", "d", certificate.decode())
        users = [["1001", "a"], ["1002", "b"], ["1003", "c"]]
        order = agents.Order(target, ["127.0.0.1", "127.0.0.2"], users, 2, 20.0)
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname = False
        client.verify_mode = ssl.CERT_NONE
        devices = agents.Crowd(order, client)
        found = [await getattr(devices, word)(*arguments) for word, *arguments in words]
        await devices.close()
        server.close()
        return found, registrar.heard

    return lambda *words: asyncio.run(run(words))


def test_devices_wait_as_they_are_told_and_register(crowd):
    (found, alive), heard = crowd(["register"], ["connect", 3])
    assert found["registered"] == found["contacts"] == 3
    assert (found["shed"], found["untold"], found["unanswered"]) == (3, 0, 0)
    assert found["longest_wait_s"] == 1
    assert found["seconds"] >= 1
    assert found["most_requests"] == 3
    assert alive["connections"] == alive["answered"] == 5
    (_, one), _ = crowd(["connect", 1], ["enter", ["1001", "a"]])
    assert (one["contacts"], one["registered"]) == (1, 1)
    last = [head for head in heard if "Authorization:" in head]
    assert len(last) == 3
    for user, password in (("1001", "a"), ("1002", "b"), ("1003", "c")):
        head = next(head for head in last if f'username="{user}"' in head)
        given = dict(re.findall(r'(\w+)="?([^",\r]+)', head.partition("Digest ")[2]))
        ha1, ha2 = agents._hashed(f"{user}:d:{password}"), agents._hashed("REGISTER:sip:d")
        text = f"{ha1}:n:{given['nc']}:{given['cnonce']}:auth:{ha2}"
        assert given["response"] == agents._hashed(text)


def test_an_order_of_devices_is_read_as_it_was_written():
    target = Target("198.51.100.1", {"tls": 5071}, "n", "d", "PEM")
    order = agents.Order(target, ["198.51.100.2"], [["1", "p"]], 1, 2.0)
    text = json.dumps(vars(order) | {"target": vars(target)})
    assert agents.read(text) == order
    assert replace(agents.read(text), links=2) != order


# -------------------------------------------------------------------- a program in the guest

ECHO = (
    "import sys, json\nfor line in sys.stdin: print(json.dumps({'said': line.strip()}), flush=True)"
)


def test_a_conversation_ends_with_its_program():
    with outside.Conversation([sys.executable, "-c", ECHO], "here") as talk:
        assert talk.ask("register") == {"said": "register"}
    with (
        outside.Conversation([sys.executable, "-c", "pass"], "here") as talk,
        pytest.raises(Problem, match="has ended"),
    ):
        talk.ask("register")
