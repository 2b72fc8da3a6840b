"""Redis' ACL users: the file's text, what differs, and an existing server's answer compared."""

import grp
import hashlib
import os
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
sys.path[:0] = [str(CHECKOUT / name) for name in ("_utils", "_modules")]

import voip_redis  # noqa: E402

RIGHTS = {"keys": ["a:*", "b:*"], "channels": ["a:*"], "commands": ["+@read", "-@dangerous"]}
USERS = {"sip-1": RIGHTS, "media-1": RIGHTS | {"channels": []}}
PASSWORDS = {"hosts/sip-1/redis": "one", "hosts/media-1/redis": "two"}


@pytest.fixture(autouse=True)
def salt(monkeypatch):
    functions = {
        "voip_vault_admin.read": lambda path: {"password": PASSWORDS[path]},
        "voip_vault.read": lambda path: {"username": "devstack", "password": "x"},
        "voip_pki.directory": lambda: "/nowhere",
    }
    monkeypatch.setattr(voip_redis, "__salt__", functions, raising=False)
    monkeypatch.setattr(voip_redis, "__opts__", {"id": "devstack"}, raising=False)
    voip = {
        "redis": {"external": False, "users": {"sip": RIGHTS, "pbx": RIGHTS}},
        "endpoints": {"redis": "127.0.0.1"},
        "ports": {"redis": {"redis": 1}},
        "provisioning": {
            "sip-1": {"roles": ["sip"], "secrets": ["redis"]},
            "pbx-1": {"roles": ["pbx"], "secrets": ["ami"]},
            "media-1": {"roles": ["media"], "secrets": ["redis"]},
        },
    }
    monkeypatch.setattr(voip_redis, "__pillar__", {"voip": voip}, raising=False)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "users.acl"


def write(file):
    # No server answers here: it will read the file when it starts.
    return voip_redis.write(USERS, str(file), grp.getgrgid(os.getgid()).gr_name)


def test_users_are_those_with_a_secret_and_rights():
    assert list(voip_redis.users()) == ["sip-1"]


def test_written_once_without_a_password(file):
    every = {"default", "health", "sip-1", "media-1"}
    assert set(voip_redis.difference(USERS, str(file))) == every
    write(file)
    assert voip_redis.difference(USERS, str(file)) == {}
    lines = file.read_text().splitlines()
    assert lines[0] == "user default off resetkeys resetchannels -@all"
    assert lines[1] == "user health on nopass resetkeys resetchannels -@all +ping"
    assert lines[3] == (
        f"user sip-1 on #{hashlib.sha256(b'one').hexdigest()} ~a:* ~b:* resetchannels &a:* "
        "-@all +@read -@dangerous"
    )
    assert file.stat().st_mode & 0o777 == 0o640


def test_a_removed_user_and_a_changed_one_differ(file):
    write(file)
    file.write_text(file.read_text().replace("~b:*", "~*") + "user guest on nopass ~* +@all\n")
    found = voip_redis.difference(USERS, str(file))
    assert found["guest"] == {"old": "other rights or password", "new": None}
    assert set(found) == {"guest", "sip-1", "media-1"}
    write(file)
    assert "guest" not in file.read_text()


def test_an_existing_servers_answer_is_compared(monkeypatch):
    held = {
        "sip-1": {
            "flags": ["on"],
            "passwords": [hashlib.sha256(b"one").hexdigest()],
            "keys": ["~a:*", "~b:*"],
            "channels": ["&a:*"],
            "categories": ["-@all", "+@read", "-@dangerous"],
            "commands": [],
        }
    }

    class Server:
        acl_getuser = staticmethod(held.get)

    monkeypatch.setattr(voip_redis, "_administrator", Server)
    assert voip_redis.remote_difference(USERS) == {"media-1": {"old": None, "new": "set"}}
    held["sip-1"]["passwords"] = ["0"]
    assert "sip-1" in voip_redis.remote_difference(USERS)


def test_the_media_hosts_have_a_server_of_their_own(monkeypatch):
    """Its users, passwords and administrator are those of the secret `callstore`."""
    voip = voip_redis.__pillar__["voip"]
    voip["callstore"] = {"users": {"media": RIGHTS}}
    voip["provisioning"]["media-1"]["secrets"] = ["callstore"]
    assert list(voip_redis.users("callstore")) == ["media-1"]
    asked = []

    def read(path):
        asked.append(path)
        return {"password": "three"}

    monkeypatch.setitem(voip_redis.__salt__, "voip_vault_admin.read", read)
    found = voip_redis._rules(voip_redis.users("callstore"), "callstore")
    assert hashlib.sha256(b"three").hexdigest() in found["media-1"][1]
    assert asked == ["hosts/media-1/callstore"]
