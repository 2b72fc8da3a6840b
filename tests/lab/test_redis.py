"""Redis in the lab: TLS only, nobody without a name, each host within its own rights."""

import pytest

from tests.lab.guest_python import Login

# As user arguments[1] (None: nobody), each command of arguments[2]: its answer or error.
COMMANDS = """
import redis
where, login, commands = arguments
client = redis.Redis(host=where[0], port=where[1], ssl=True, socket_timeout=5,
                     ssl_ca_certs="/etc/voip-stack/tls/ca.crt", **(login or {}))
answers = []
for command in commands:
    try:
        answers.append(str(client.execute_command(*command)))
    except redis.RedisError as error:
        answers.append(f"{type(error).__name__}: {error}")
print(json.dumps(answers))
"""

CLEARTEXT = """
import socket
with socket.create_connection(tuple(arguments[0]), timeout=5) as connection:
    connection.sendall(b"PING\\r\\n")
    try:
        print(json.dumps(connection.recv(64).decode("latin-1")))
    except OSError:
        print(json.dumps(""))
"""

# A host's own login, read by its own identity: it is in no file.
LOGIN = """
import sys
sys.path.append("/var/cache/salt/minion/extmods/utils")
import voip_vault_client
address, port, name, host = arguments
identity = json.load(open("/etc/voip-stack/vault/approle.json"))
vault = voip_vault_client.Session(address, port, name, "/etc/voip-stack/tls/ca.crt")
vault.login("approle", identity["role_id"], identity["secret_id"])
found = vault.read(f"voip/data/hosts/{host}/redis")["data"]
print(json.dumps({key: found[key] for key in ("username", "password")}))
"""


@pytest.fixture(scope="module")
def where(compiled):
    voip = compiled("sip-1")
    return [voip["endpoints"]["redis"], voip["ports"]["redis"]["redis"]]


@pytest.fixture(scope="module")
def login(guest, pillar):
    port = pillar.services["openbao"]["api"].ports[0]

    def of(host):
        return Login(guest(host, LOGIN, str(pillar.vault.address), port, pillar.vault.name, host))

    return of


def test_cleartext_gets_no_answer(guest, where):
    assert "PONG" not in guest("sip-1", CLEARTEXT, where)


def test_nobody_is_let_in_without_a_name(guest, where):
    (answer,) = guest("sip-1", COMMANDS, where, None, [["PING"]])
    assert answer.startswith("AuthenticationError")


def test_own_keys_only(guest, where, login):
    answers = guest(
        "sip-1",
        COMMANDS,
        where,
        login("sip-1"),
        [
            ["SET", "location:test", "1"],
            ["DEL", "location:test"],
            ["GET", "rtpengine:x"],
            ["CONFIG", "GET", "dir"],
            ["FLUSHALL"],
            ["ACL", "LIST"],
        ],
    )
    assert answers[:2] == ["True", "1"]
    assert all("NoPermission" in answer for answer in answers[2:]), answers


def test_another_hosts_name_does_not_help(guest, where, login):
    mixed = login("sip-1") | {"username": "media-1"}
    (answer,) = guest("sip-1", COMMANDS, where, mixed, [["PING"]])
    assert "invalid username-password" in answer


def test_the_file_holds_digests_only(on, login):
    text = on("devstack", "cat", "/etc/redis/users.acl")
    assert "user default off" in text
    assert login("sip-1")["password"] not in text


def test_data_survives_a_kill(guest, on, where, login, eventually):
    mine = login("sip-1")
    guest("sip-1", COMMANDS, where, mine, [["SET", "location:kept", "yes"]])
    on("devstack", "sleep", "1.2")  # appendfsync everysec
    on("devstack", "systemctl", "kill", "--signal=KILL", "redis-server")

    def kept():
        return guest("sip-1", COMMANDS, where, mine, [["GET", "location:kept"]]) == ["b'yes'"]

    assert eventually(kept, 20)
    guest("sip-1", COMMANDS, where, mine, [["DEL", "location:kept"]])
