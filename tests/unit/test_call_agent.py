"""The agent that runs outside: framing, its name server, its look at sockets, and its end."""

import asyncio
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from voip_stack.call import agent
from voip_stack.call.failure import CallError, sip_code
from voip_stack.call.remote import Remote, remote_argv


def test_netstrings_in_any_portions():
    stream = agent.encode_netstring(b'{"a":1}') + agent.encode_netstring(b"") + b"3:abc,"
    for size in (1, 2, 5, len(stream)):
        frames = agent.Netstrings()
        found = []
        for start in range(0, len(stream), size):
            found += frames.feed(stream[start : start + size])
        assert found == [b'{"a":1}', b"", b"abc"]


@pytest.mark.parametrize("stream", [b"x:abc,", b"3:abcd", b"0123456789", b"-1:a,"])
def test_what_is_no_netstring_is_refused(stream):
    with pytest.raises(ValueError, match="no netstring"):
        agent.Netstrings().feed(stream)


def test_the_status_of_a_long_call_is_no_log(tmp_path):
    """It is written over itself, for as long as the call lasts, and never ends in a line feed."""
    status = "[0:11:40] audio=64000/64000 (bit/s)    \\r"
    program = f"print('ready'); print('{status}' * 5000 + 'call: terminated')"
    said = []

    async def read():
        agent_of_one = agent.UserAgent("caller", tmp_path, said.append)
        agent_of_one._process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE
        )
        await agent_of_one._read_output()

    asyncio.run(read())
    assert [item.get("log", item.get("exit")) for item in said] == ["ready", "call: terminated", 0]


def query(name, kind=1):
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    header = struct.pack("!HHHHHH", 0x1234, 0x0100, 1, 0, 0, 0)
    return header + labels + b"\0" + struct.pack("!HH", kind, 1)


@pytest.mark.parametrize(
    ("name", "kind", "code", "answers"),
    [
        ("sip.voip.test", 1, 0, 1),
        ("SIP.voip.test", 1, 0, 1),
        ("sip.voip.test", 28, 0, 0),
        ("other.voip.test", 1, 3, 0),
    ],
)
def test_the_name_server_knows_the_proxy_only(name, kind, code, answers):
    answer = agent.dns_answer(query(name, kind), {"sip.voip.test": "198.18.64.10"})
    identity, flags, questions, count = struct.unpack_from("!HHHH", answer)
    assert (identity, flags & 15, questions, count) == (0x1234, code, 1, answers)
    assert answer.endswith(bytes([198, 18, 64, 10])) is bool(answers)


@pytest.mark.parametrize("data", [b"", b"short", b"\0" * 12, query("a.b")[:-3], b"\0\0\x80" * 9])
def test_the_name_server_ignores_rubbish(data):
    assert agent.dns_answer(data, {}) is None


TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:BEEF 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1
   1: 644012C6:C350 0A4012C6:13CF 01 00000000:00000000 00:00000000 00000000     0        0 22 1
   2: 644012C6:C351 0A4012C6:13CF 06 00000000:00000000 00:00000000 00000000     0        0 33 1
   3: 644012C6:C352 0A4012C6:13CF 01 00000000:00000000 00:00000000 00000000     0        0 44 1
"""


def test_only_its_own_established_connections():
    assert agent.parse_tcp_table(TCP, {"11", "22", "33"}) == [
        {"local": "198.18.64.100:50000", "remote": "198.18.64.10:5071"}
    ]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("404 Not Found", 404),
        ("486 Rejected", 486),
        ("401 Unauthorized", 401),
        ("Connection reset by peer", None),
        ("Protocol error [71]", None),
        ("200 OK", None),
        ("", None),
    ],
)
def test_sip_code_of_a_reason(text, code):
    assert sip_code(text) == code


@pytest.fixture
def fake_baresip(tmp_path, monkeypatch):
    """A baresip that opens the control port and answers every command with its own name."""
    program = tmp_path / "baresip"
    program.write_text(
        f"#!{sys.executable}\n"
        "import json, re, socket, sys\n"
        "text = open('config').read()\n"
        "port = int(re.search(r'ctrl_tcp_listen\\s+127.0.0.1:(\\d+)', text).group(1))\n"
        "server = socket.create_server(('127.0.0.1', port))\n"
        "link, _ = server.accept()\n"
        "def send(message):\n"
        "    data = json.dumps(message).encode()\n"
        "    link.sendall(b'%d:%s,' % (len(data), data))\n"
        "print('baresip is ready.', flush=True)\n"
        "while data := link.recv(65536):\n"
        "    order = json.loads(data.split(b':', 1)[1][:-1])\n"
        "    send({'event': True, 'type': 'REGISTER_OK', 'param': '200 OK'})\n"
        "    send({'response': True, 'ok': order['command'] != 'bad',\n"
        "          'data': order['command'] + order.get('params', ''),\n"
        "          'token': order['token']})\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return program


CONFIG = "ctrl_tcp_listen @CONTROL@\ndns_server @DNS@\nplace @DIR@\n"


def argv():
    return [sys.executable, *remote_argv()[1:]]


def test_orders_events_and_nothing_left(fake_baresip):
    with Remote(argv()) as remote:
        pid = remote.open("a", CONFIG, {"ca.crt": "certificate"}, {})
        directory = os.readlink(f"/proc/{pid}/cwd")
        assert os.stat(directory).st_mode & 0o077 == 0
        assert remote.read("a", "ca.crt") == b"certificate"
        assert remote.command("a", "uanew", "x") == "uanewx"
        assert remote.command("a", "uanew", "secret", quiet=True) == ""
        event = remote.wait({"a": ["REGISTER_OK"]}, 5)
        assert event.text == "200 OK"
        assert remote.wait({"a": ["CALL_CLOSED"]}, 0.05) is None
        with pytest.raises(CallError, match="bad"):
            remote.command("a", "bad")
        with pytest.raises(CallError, match="no_such_file"):
            remote.read("a", "../no_such_file")
    assert not os.path.exists(f"/proc/{pid}")
    assert not os.path.exists(os.path.dirname(directory))


def test_a_killed_host_leaves_nothing_outside(fake_baresip):
    remote = Remote(argv())
    remote.start()
    pid = remote.open("a", CONFIG, {}, {})
    directory = os.readlink(f"/proc/{pid}/cwd")
    # What the host's death does: the pipe's other end is gone.
    os.close(os.dup(remote._process.stdin.fileno()))
    remote._process.stdin.close()
    assert remote._process.wait(5) == 0
    assert not os.path.exists(f"/proc/{pid}")
    assert not os.path.exists(directory)


def test_a_dead_user_agent_is_told(fake_baresip):
    fake_baresip.write_text("#!/bin/sh\nexit 7\n")
    with Remote(argv()) as remote, pytest.raises(CallError, match=r"baresip ended \(7\)"):
        remote.open("a", CONFIG, {}, {})


def test_an_agent_that_cannot_start_is_told():
    remote = Remote(["sh", "-c", "echo no such guest >&2; exit 3"])
    with pytest.raises(CallError, match="no such guest"), remote:
        pass


def test_no_secret_in_any_argument(fake_baresip):
    with Remote(argv()) as remote:
        pid = remote.open("a", CONFIG, {}, {})
        remote.command("a", "uanew", "auth_pass=visible", quiet=True)
        shown = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
        assert "visible" not in shown
        assert "visible" not in json.dumps([event.data for event in remote.events])
        for file in Path(f"/proc/{pid}/cwd/").iterdir():
            assert "visible" not in file.read_text()


def test_the_latest_of_a_growing_file_and_no_more(tmp_path):
    """What was had is not had again, and takes no room any more."""
    ua = agent.UserAgent("a", tmp_path, lambda message: None)
    path = tmp_path / "heard.wav"
    with open(path, "wb", buffering=0) as writer:
        writer.write(b"header" * 1000 + b"tail")
        assert ua.latest("heard.wav", 4) == b"tail"
        writer.write(b"xy")
        assert ua.latest("heard.wav", 4) == b"xy"
        writer.write(b"later" * 10)
        assert ua.latest("../heard.wav", 5) == b"later"
        assert path.stat().st_blocks == 0


@pytest.mark.parametrize("source", [b"", b"12", b"100\nprint(1)"])
def test_an_agent_whose_host_has_gone_before_it_began_ends(source):
    argv = [sys.executable, *remote_argv()[1:]]
    done = subprocess.run(argv, input=source, capture_output=True, timeout=10, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")


def test_an_agent_that_does_not_start_is_ended(monkeypatch):
    monkeypatch.setattr("voip_stack.call.remote.START_DEADLINE_S", 0.2)
    remote = Remote(["sleep", "60"])
    monkeypatch.setattr("voip_stack.call.remote.CLOSE_DEADLINE_S", 0.2)
    with pytest.raises(CallError, match="did not start"):
        remote.start()
    assert remote._process.poll() is not None
