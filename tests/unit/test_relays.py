"""Media relays that go from host to host: what each host has of them, and who calls one dead."""

import asyncio
import contextlib
import importlib.util
import json
import os
import shutil
import socket
import sys

import pytest

from voip_stack import paths
from voip_stack.pillar import PillarError, compile_for, load
from voip_stack.vm.payload import alone

sys.path.append(str(paths.checkout() / "_utils"))
import voip_kamailio
import voip_relays

FILES = paths.checkout() / "salt/rtpengine/files"
PILLAR = load(paths.pillar_dir())


def _load(name):
    spec = importlib.util.spec_from_file_location(name, FILES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


link = _load("callstore_link")
watch = _load("relay_watch")


def voip(host, pillar=PILLAR, **facts):
    return compile_for(pillar, host, facts)


# ---------------------------------------------------------------- which relays a host has
def test_each_media_host_has_its_own_relay_first_and_stands_by_for_the_others():
    found = {name: voip_relays.instances(voip(name)) for name in ("media-1", "media-2")}
    for name, (own, other) in found.items():
        assert (own["name"], own["unit"]) == (name, "rtpengine-daemon.service")
        assert other["unit"] == f"rtpengine-standby@{other['name']}.service"
        assert own["priority"] > other["priority"]
        assert own["cli_port"] != other["cli_port"]
    # What must be the same wherever the relay is.
    for key in ("addresses", "database", "router"):
        assert found["media-1"][0][key] == found["media-2"][1][key]
        assert found["media-1"][0][key] != found["media-1"][1][key]


def test_a_media_host_alone_has_its_own_addresses_and_stands_by_for_nobody():
    (own,) = voip_relays.instances(voip("media-1", alone(PILLAR)))
    assert not own["floats"]
    assert own["addresses"] == {"internal": "192.168.64.20", "external": "198.18.64.20"}
    compiled = voip("media-1", alone(PILLAR))
    assert compiled["self"]["listens"]["internal"] == ["192.168.64.20"]
    assert "rtpengine/vrrp" not in {rule["name"] for rule in compiled["firewall"]}


def test_an_address_is_here_or_not():
    assert voip_relays.is_here("127.0.0.1")
    assert not voip_relays.is_here("198.18.255.254")


def test_relays_are_let_in_where_they_may_come():
    for host in ("media-1", "media-2"):
        listens = voip(host)["self"]["listens"]
        assert set(listens["internal"]) >= {"192.168.64.120", "192.168.64.121"}
        assert set(listens["external"]) >= {"198.18.64.120", "198.18.64.121"}
    (rule,) = [r for r in voip("media-1")["firewall"] if r["name"] == "rtpengine/vrrp"]
    assert rule["proto"] == "vrrp"
    assert set(rule["sources"]) >= {"192.168.64.21"}
    allowed = {item for r in voip("pbx-1")["egress"] if r["name"] == "rtpengine/rtp-pbx"
               for item in r["destinations"]}  # fmt: skip
    assert allowed == {"192.168.64.120", "192.168.64.121"}


def test_a_drained_relay_has_no_weight():
    compiled = voip("sip-1", drained={"media-1": {}, "no-such-host": {}})
    assert [item["drained"] for item in compiled["relays"]] == [True, False]
    head, one, two = voip_kamailio.relay_table(compiled).splitlines()
    assert head == "setid(int) url(string) weight(int) disabled(int)"
    assert one == r"0:udp\:192.168.64.120\:22222:0:0"
    assert two == r"0:udp\:192.168.64.121\:22222:1:0"


def change(tmp_path, old, new):
    directory = tmp_path / "pillar"
    shutil.copytree(paths.pillar_dir(), directory)
    file = directory / "topology.yaml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(PillarError) as raised:
        load(directory)
    return " ".join(str(problem) for problem in raised.value.problems)


RELAY = (
    "    relay: {internal: 192.168.64.121, external: 198.18.64.121, "
    'external_ipv6: "fd64:c612:4000::121"}\n'
)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (RELAY, "", "a second media host with a relay"),
        (RELAY, RELAY.replace("18.64.121", "18.64.21"), "belongs to media-2 already"),
        (RELAY, RELAY.replace("192.168.64.121", "10.0.0.1"), "a free address of 192.168.64.0/24"),
        (RELAY, RELAY.replace("192.168.64.121", "192.168.64.1"), "a free address of"),
        (", callstore]", "]", "a host that runs callstore"),
        (
            "    internal: 192.168.64.30\n",
            "    internal: 192.168.64.30\n    relay: {internal: 192.168.64.130, external: "
            "198.18.64.130}\n",
            "a media host with an address in both networks",
        ),
    ],
)
def test_refused(tmp_path, old, new, message):
    assert message in change(tmp_path, old, new)


# ---------------------------------------------------------------- the watch
# (seconds, is it here, does it answer) -> is it given away
STORIES = {
    "elsewhere": [(0, False, False, False), (9, False, False, False)],
    "comes and answers": [(0, True, False, False), (5, True, True, False), (6, True, False, False),
                          (7, True, False, True)],
    "never starts": [(0, True, False, False), (7.9, True, False, False), (8, True, False, True)],
    "restarted in time": [
        (0, True, True, False), (1, True, True, False), (2, True, False, False),
        (2.9, True, True, False), (4.8, True, False, False)],
    "given away until gone, and its turn over": [
        (0, True, True, False), (1, True, True, False), (3, True, False, True),
        (4, True, True, True), (5, False, False, True), (12.9, False, False, True),
        (13.1, False, False, False)],
    "comes back when nobody took it": [
        (0, True, True, False), (1, True, True, False), (3, True, False, True),
        (4, False, False, True), (14, True, False, True), (15, False, False, False),
        (16, True, False, False)],
}  # fmt: skip


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
def test_the_watch(story):
    relay = watch.Watch(dead_after_s=2, start_s=8)
    for now, here, answered, dead in story:
        assert relay.see(here, answered, now) is dead, (now, here, answered)


def test_the_watch_asks_in_the_control_protocol():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        assert not watch.answers(*silent.getsockname(), timeout_s=0.1)
        assert silent.recv(100).partition(b" ")[2] == b"d7:command4:pinge"


# ---------------------------------------------------------------- the link
def test_commands_in_redis_protocol():
    assert link.command("AUTH", "media-1", "pä") == (
        b"*3\r\n$4\r\nAUTH\r\n$7\r\nmedia-1\r\n$3\r\np\xc3\xa4\r\n"
    )


def test_the_link_knows_who_connects():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            assert link.owner(client.getsockname()[1], port) == os.getuid()
            assert link.owner(1, port) is None


@pytest.fixture
def settings(tmp_path, monkeypatch):
    login = tmp_path / "login.json"
    login.write_text(json.dumps({"username": "media-1", "password": "x"}))
    return {"port": 0, "store": {}, "ca_file": "", "login": str(login), "control_ports": [],
            "restate_s": 60}  # fmt: skip


def test_strangers_are_not_carried(settings, monkeypatch):
    """Another user's connection is closed, and Redis is not even asked."""

    async def story():
        made = link.Link(settings)
        server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
        settings["port"] = server.sockets[0].getsockname()[1]
        monkeypatch.setattr(link, "owner", lambda *_: os.getuid() + 1)
        reader, writer = await asyncio.open_connection("127.0.0.1", settings["port"])
        writer.write(b"PING\r\n")
        # Closed with the question unread, which the kernel may call a reset.
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
        server.close()
        return made.lost.is_set()

    assert asyncio.run(story()) is False


def test_calls_are_written_anew_after_redis_was_lost(settings, monkeypatch):
    """RTPEngine's connection ends with Redis', and every RTPEngine here gets `active`."""
    monkeypatch.setattr(link, "PAUSE_S", 0)
    orders = []

    async def redis(reader, writer):
        assert (await reader.readline()) == b"*3\r\n"
        for _ in range(6):
            await reader.readline()
        writer.write(b"+OK\r\n")
        assert await reader.readline() == b"PING\r\n"
        writer.write(b"+PONG\r\n")
        await writer.drain()
        writer.close()

    async def control(reader, writer):
        orders.append(await reader.read())
        writer.close()

    async def story():
        made = link.Link(settings)
        store = await asyncio.start_server(redis, "127.0.0.1", 0)
        cli = await asyncio.start_server(control, "127.0.0.1", 0)
        settings["store"] = {"address": "127.0.0.1", "name": "x",
                             "port": store.sockets[0].getsockname()[1]}  # fmt: skip
        settings["control_ports"] = [cli.sockets[0].getsockname()[1]]
        own = await asyncio.start_server(made.serve, "127.0.0.1", 0)
        settings["port"] = own.sockets[0].getsockname()[1]
        again = asyncio.create_task(made.restate())
        reader, writer = await asyncio.open_connection("127.0.0.1", settings["port"])
        writer.write(b"PING\r\n")
        assert await reader.read() == b"+PONG\r\n"
        writer.close()
        async with asyncio.timeout(5):
            while not orders:
                await asyncio.sleep(0.01)
        again.cancel()
        for server in (store, cli, own):
            server.close()

    # Without TLS here: what is under test is who talks to whom.
    monkeypatch.setattr(link.ssl, "create_default_context", lambda cafile: None)
    real = asyncio.open_connection
    monkeypatch.setattr(
        link.asyncio,
        "open_connection",
        lambda host, port, ssl=None, server_hostname=None: real(host, port),
    )
    asyncio.run(story())
    assert orders == [b"active\n"]


def test_srtp_counters_are_put_where_rtpengine_reads_them():
    """As RTPEngine 10.5 wrote it of a call whose incoming stream has wrapped once."""

    def entry(ssrc, **counters):
        none = dict.fromkeys(link.COUNTERS, "0")
        return {"ssrc": ssrc, "in_payload_type": "8", "out_payload_type": "8"} | none | counters

    state = {
        "json": {"num_tags": "2"},
        "ssrc_table-0": [entry("7", in_srtp_index="66285"), entry("9", out_srtp_index="120")],
        "ssrc_table-1": [entry("7", out_srtp_index="66284"), entry("9", in_srtp_index="121")],
    }
    found = json.loads(link.mended(json.dumps(state).encode()))
    table = {item["ssrc"]: item for item in found.pop("ssrc_table")}
    assert found == state
    assert (table["7"]["in_srtp_index"], table["7"]["out_srtp_index"]) == ("66285", "66284")
    assert (table["9"]["in_srtp_index"], table["9"]["out_srtp_index"]) == ("121", "120")


@pytest.mark.parametrize("state", [b"{}", b"{", b'{"json":{}}'])
def test_what_has_no_counters_is_left_alone(state):
    assert link.mended(state) == state


def test_replies_are_carried_whole():
    """Lines, bulk strings with line ends in them, none at all, arrays; states mended."""
    state = b'{"ssrc_table-0":[{"ssrc":"1","in_srtp_index":"2"}]}'
    sent = (
        b"+PONG\r\n:3\r\n-ERR no\r\n$-1\r\n$0\r\n\r\n$4\r\na\r\nb\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n"
    )

    async def story():
        source = asyncio.StreamReader()
        source.feed_data(sent + b"$%d\r\n%s\r\n" % (len(state), state))
        source.feed_eof()
        got = bytearray()

        class Sink:
            write = staticmethod(got.extend)

            async def drain(self):
                pass

        await link.replies(source, Sink())
        return bytes(got)

    got = asyncio.run(story())
    assert got.startswith(sent)
    assert b'"ssrc_table":' in got
    assert got.endswith(b"\r\n")
