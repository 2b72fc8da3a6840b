"""The Redis of live calls: in memory only, for the media hosts only."""

from __future__ import annotations

import base64
import os
import subprocess
import time
from urllib.parse import unquote_to_bytes

import pytest

from tests.lab import crowd
from tests.lab.guest_python import Login
from tests.lab.test_redis import COMMANDS, LOGIN
from voip_stack.providers.lab import guests

MEDIA = "media-1"
UNIT = "redis-server@calls"
KEY_BYTES = 16
# As RTPEngine's user, by the link: every call's state.
STATES = """
import socket, os, pwd
os.setgid(pwd.getpwnam("rtpengine").pw_gid)
os.setuid(pwd.getpwnam("rtpengine").pw_uid)
import redis
found = {}
for database in arguments[1]:
    client = redis.Redis(host="127.0.0.1", port=arguments[0], db=database, socket_timeout=5,
                         lib_name=None, lib_version=None)
    for key in client.keys("*"):
        found[key.decode()] = client.get(key).decode("latin-1")
print(json.dumps(found))
"""
# As root, who is not RTPEngine's user.
KNOCK = """
import socket
with socket.create_connection(("127.0.0.1", arguments[0]), timeout=5) as link:
    try:
        link.sendall(b"PING\\r\\n")
        print(json.dumps(link.recv(64).decode()))
    except ConnectionError:
        print(json.dumps(""))
"""


@pytest.fixture(scope="module")
def where(compiled):
    voip = compiled(MEDIA)
    return [voip["endpoints"]["callstore"], voip["ports"]["callstore"]["redis"]]


@pytest.fixture(scope="module")
def login(guest, pillar):
    """login(host, component): its login for that Redis, by its own Vault identity."""
    port = pillar.services["openbao"]["api"].ports[0]

    def of(host, component="callstore"):
        script = LOGIN.replace("/redis", f"/{component}")
        return Login(guest(host, script, str(pillar.vault.address), port, pillar.vault.name, host))

    return of


@pytest.fixture
def states(guest, compiled):
    """states(): {Call-ID: what RTPEngine keeps of the call} of every relay."""
    voip = compiled(MEDIA)
    return lambda: guest(
        MEDIA, STATES, voip["rtpengine"]["link_port"], list(range(len(voip["relays"])))
    )


def keys_of(text):
    """SRTP master keys in a call's state, as bytes."""
    import json

    def walk(item):
        if isinstance(item, dict):
            for name, value in item.items():
                if name.endswith("master_key") and isinstance(value, str):
                    yield unquote_to_bytes(value)[:KEY_BYTES]
                else:
                    yield from walk(value)
        elif isinstance(item, list):
            for value in item:
                yield from walk(value)

    return {key for key in walk(json.loads(text)) if key.strip(b"\0")}


# ---------------------------------------------------------------- who may what
def test_a_media_host_may_do_what_rtpengine_does_and_no_more(guest, where, login):
    allowed = [
        ["SELECT", "9"], ["SET", "a-test", "1"], ["EXPIRE", "a-test", "60"], ["GET", "a-test"],
        ["KEYS", "*"], ["DEL", "a-test"], ["PING"], ["INFO", "replication"],
    ]  # fmt: skip
    refused = [
        ["CONFIG", "GET", "dir"], ["CONFIG", "SET", "appendonly", "yes"], ["SAVE"], ["BGSAVE"],
        ["ACL", "LIST"], ["FLUSHALL"], ["SUBSCRIBE", "x"], ["MONITOR"],
        ["REPLICAOF", "198.18.64.100", "6379"], ["EVAL", "return 1", "0"], ["HSET", "a", "b", "c"],
    ]  # fmt: skip
    answers = guest(MEDIA, COMMANDS, where, login(MEDIA), allowed + refused)
    assert not [answer for answer in answers[: len(allowed)] if "Error" in answer], answers
    assert all("NoPermission" in answer for answer in answers[len(allowed) :]), answers


def test_nobody_else_reads_a_call(guest, on, where, login):
    """The proxy's host does not get there; the one that keeps it may not look into it."""
    reach = f"timeout 3 bash -c 'exec 3<>/dev/tcp/{where[0]}/{where[1]}' && echo open || echo shut"
    for host in ("sip-1", "pbx-1"):
        assert on(host, "sh", "-c", reach).strip() == "shut"
    answers = guest("devstack", COMMANDS, where, login("devstack"), [["KEYS", "*"], ["GET", "x"]])
    assert all("NoPermission" in answer for answer in answers), answers
    (answer,) = guest("devstack", COMMANDS, where, login("devstack", "redis"), [["PING"]])
    assert "invalid username-password" in answer
    (answer,) = guest(MEDIA, COMMANDS, where, None, [["PING"]])
    assert answer.startswith("AuthenticationError")
    other = [where[0], 6379]
    assert on(MEDIA, "sh", "-c", reach.replace(str(where[1]), str(other[1]))).strip() == "shut"


def test_the_link_carries_rtpengine_only(guest, compiled, states):
    assert guest(MEDIA, KNOCK, compiled(MEDIA)["rtpengine"]["link_port"]) == ""
    assert isinstance(states(), dict)


# ---------------------------------------------------------------- no key on a disk
def test_the_key_of_a_live_call_is_on_no_disk(states, pillar, eventually):
    """Searched for in every form in which it is in memory, in all files of all hosts."""
    with crowd.calls(2) as found:
        kept = eventually(
            lambda: (
                [states().get(call.call_id) for call in found]
                if all(call.call_id in states() for call in found)
                else None
            ),
            10,
        )
        keys = {key for text in kept for key in keys_of(text)}
        assert len(keys) >= 2, "no key in what RTPEngine keeps: nothing was searched for"
        forms = set()
        for key in keys:
            forms |= {key, base64.b64encode(key)[:20], key.hex().encode()}
        hits = {name: _files_with(guests.root(name), forms) for name in pillar.hosts}
        assert not any(hits.values()), hits
        crowd.hang_up(found)


def _files_with(root, forms):
    """Files below root that hold one of these byte strings; sockets and devices are none."""
    patterns = b"\n".join(b"\\x" + b"\\x".join(b"%02x" % c for c in form) for form in forms)
    expression = b"|".join(patterns.splitlines())
    argv = [
        "grep", "-rlaP", "--devices=skip", "--exclude-dir=proc", "--exclude-dir=sys",
        "--exclude-dir=dev", os.fsdecode(expression), str(root),
    ]  # fmt: skip
    done = subprocess.run(
        argv, capture_output=True, text=True, check=False, env=os.environ | {"LC_ALL": "C"}
    )
    assert done.returncode in (0, 1, 2), done.stderr
    return done.stdout.split()


def test_it_has_no_file_to_write_to(on):
    settings = on("devstack", "cat", "/etc/redis/redis-calls.conf")
    assert 'save ""' in settings
    assert "appendonly no" in settings
    assert on("devstack", "findmnt", "-no", "FSTYPE", "-T", "/run/redis-calls").strip() == "tmpfs"
    limits = on("devstack", "sh", "-c", f"cat /proc/$(systemctl show -P MainPID {UNIT})/limits")
    core = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
    assert core.split()[4:6] == ["0", "0"]


# ---------------------------------------------------------------- a Redis that was away
def test_calls_are_written_anew_when_redis_was_restarted(states, on, eventually):
    with crowd.calls(2) as found:
        ids = {call.call_id for call in found}
        eventually(lambda: ids <= set(states()), 10)
        on("devstack", "systemctl", "restart", UNIT)
        eventually(lambda: ids <= _quietly(states), 30, 0.5)
        assert all(item.gap_s < 1 for item in crowd.hang_up(found))


def _quietly(states):
    try:
        return set(states())
    except Exception as err:  # Redis is still on its way
        print(err)
        return set()


def test_calls_are_served_without_it(on, eventually, states):
    """No failover then, but calls: it is a safety net, and none that calls hang in."""
    on("devstack", "systemctl", "stop", UNIT)
    try:
        with crowd.calls(2) as found:
            time.sleep(3)
            assert all(item.at_the_end for item in crowd.hang_up(found))
    finally:
        on("devstack", "systemctl", "start", UNIT)
    eventually(lambda: isinstance(states(), dict), 30, 0.5)
