"""A revoked certificate is refused, the next one is not; bad lists take no proxy down."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.lab.phones import call, phones, talk
from voip_stack import paths
from voip_stack.events import alerts, record

REACH = (Path(__file__).parent / "reach.py").read_bytes()
TLS = "/etc/voip-stack/tls"
TAKEN = "/run/taken-by-a-test"
PAIR = [f"{TLS}/asterisk.crt", f"{TLS}/asterisk.key"]
OPTIONS = (
    "OPTIONS sip:proxy SIP/2.0\r\nVia: SIP/2.0/TLS 192.168.64.30:5061;branch=z9hG4bKlab;rport\r\n"
    "From: <sip:lab@voip.test>;tag=lab\r\nTo: <sip:proxy@voip.test>\r\nCall-ID: lab@test\r\n"
    "CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
)
# What makes lists that end soon, so that a test sees them end.
SOON_S = 15
# As the identity that provisions: lists of so many seconds, not made anew by time.
SHORT_LISTS = """
import ssl, urllib.request
base, seconds = arguments
context = ssl.create_default_context(cafile="/etc/voip-stack/tls/ca.crt")
token = ""

def ask(path, data=None):
    body = None if data is None else json.dumps(data).encode()
    request = urllib.request.Request(f"{base}/{path}", body, {"X-Vault-Token": token})
    answer = urllib.request.urlopen(request, context=context).read()
    return json.loads(answer) if answer else None

with open("/etc/voip-stack/vault/provision.json") as file:
    own = json.load(file)
login = {name: own[name] for name in ("role_id", "secret_id")}
token = ask("auth/approle/login", login)["auth"]["client_token"]
for mount in ("pki", "pki_int"):
    ask(f"{mount}/config/crl", {"expiry": f"{seconds}s", "auto_rebuild": False})
    ask(f"{mount}/crl/rotate")
print(json.dumps(True))
"""


@pytest.fixture(scope="module")
def handshake(provider, compiled):
    """handshake(pair) -> what reach.py sees as the PBX at the proxy's mutual TLS."""
    voip = compiled("sip-1")
    where = {
        "do": "tls",
        "address": voip["self"]["addresses"]["internal"],
        "port": voip["ports"]["kamailio"]["sip-tls"],
        "name": voip["self"]["fqdn"],
        "ca": f"{TLS}/ca.crt",
        "text": OPTIONS,
    }

    def run(pair):
        argv = ["python3", "-", json.dumps(where | {"client": pair})]
        return json.loads(provider.run("pbx-1", argv, stdin=REACH).stdout)

    return run


def is_let_in(found):
    return found.get("answer", "").startswith("SIP/2.0 ")


def certificates(*words):
    done = subprocess.run(
        [str(paths.checkout() / "voip"), "certificates", *words, "--json"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def taken(on):
    """The PBX's pair, as somebody has it who was on its disk."""
    on("pbx-1", "install", "-d", "-m", "0700", TAKEN)
    for file in ("asterisk.crt", "asterisk.key"):
        on("pbx-1", "cp", "-L", f"{TLS}/{file}", f"{TAKEN}/{file}")
    yield [f"{TAKEN}/asterisk.crt", f"{TAKEN}/asterisk.key"]
    on("pbx-1", "rm", "-r", TAKEN)


def test_a_revoked_certificate_is_refused_and_the_next_one_serves(taken, handshake, salt):
    assert is_let_in(handshake(taken))
    with phones() as dialogue:
        call(dialogue)
        done = certificates("revoke", "pbx-1", "asterisk", "--yes", "--reason", "a test's")
        assert done["checked_by"] == ["sip-1"]
        assert "certificate revoked" in handshake(taken).get("error", "")
        assert is_let_in(handshake(PAIR))
        talk(dialogue, 3)  # the call that was up did not notice
    with phones() as dialogue:
        call(dialogue)
        talk(dialogue, 3)
    assert salt("sip-1", "kamailio.reaches_peers")
    (row,) = certificates("list", "pbx-1")["certificates"]
    assert row["serial"] == done["replaced_by"] != done["serial"]
    assert row["revoked"] is False
    assert list(record.read("revocations"))[-1]["serial"] == done["serial"]


@pytest.fixture
def lists(salt, eventually, handshake):
    """The proxy's lists, good again afterwards."""
    yield f"{TLS}/kamailio.crl"
    states = salt("devstack", "state.sls", "vault", timeout_s=180)
    assert all(state["result"] for state in states.values())
    salt("devstack", "voip_vault_authority.rotate_lists")
    salt("sip-1", "voip_crl.refresh")
    assert salt("sip-1", "kamailio.revocation_file") == f"{TLS}/kamailio.crl"
    assert is_let_in(eventually(lambda: handshake(PAIR)))


@pytest.mark.parametrize("content", [None, b"rubbish\n"])
def test_it_starts_without_lists_or_with_broken_ones(content, lists, on, handshake, eventually):
    on("sip-1", "rm", lists)
    if content:
        on("sip-1", "tee", lists, stdin=content)
    on("sip-1", "systemctl", "kill", "--signal=KILL", "kamailio.service")
    eventually(lambda: is_let_in(handshake(PAIR)), 20, 0.5)


def test_a_certificate_is_renewed_without_lists(lists, on, salt, handshake):
    """A reload that finds no lists would leave the old certificate in use."""
    on("sip-1", "rm", lists)
    made = salt("sip-1", "voip_pki.renew", "kamailio", timeout_s=60)
    assert made["proof_s"] is not None
    assert is_let_in(handshake(PAIR))


def test_lists_that_have_ended_refuse_nobody(lists, guest, vault_api, salt, handshake, eventually):
    """The proxy would refuse everybody; its host takes the check away, and tells."""
    guest("devstack", SHORT_LISTS, vault_api, SOON_S)
    salt("sip-1", "voip_crl.refresh")
    assert is_let_in(handshake(PAIR))
    refused = eventually(lambda: handshake(PAIR).get("error"), SOON_S + 10, 1)
    assert "certificate" in refused
    before = len(list(record.read(alerts.RECORD)))
    assert "ended on" in salt("sip-1", "voip_crl.scheduled")["kamailio"]
    assert salt("sip-1", "kamailio.revocation_file") is None
    assert is_let_in(eventually(lambda: handshake(PAIR)))
    told = eventually(lambda: list(record.read(alerts.RECORD))[before:])
    assert told[0]["kind"] == "revocation/unchecked"
