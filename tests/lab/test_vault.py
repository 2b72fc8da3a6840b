"""The Vault in the lab: copied identities, wrapping tokens, failures that say what to do."""

import json

import pytest

from voip_stack import vault
from voip_stack.problem import Problem

UNSEAL = "/etc/voip-stack/openbao/unseal.json"

# As this guest's identity (or the one given): {path: HTTP status}, or "login refused".
ATTEMPT = """
import sys, requests
where, identity, calls = arguments
identity = identity or json.load(open("/etc/voip-stack/vault/approle.json"))
session = requests.Session()
session.trust_env, session.verify = False, "/etc/voip-stack/tls/ca.crt"
login = session.post(f"{where}/auth/approle/login", timeout=10,
                     json={key: identity[key] for key in ("role_id", "secret_id")})
if not login.ok:
    print(json.dumps("login refused"))
    sys.exit()
session.headers["X-Vault-Token"] = login.json()["auth"]["client_token"]
print(json.dumps({
    path: session.request(method, f"{where}/{path}", json=body, timeout=10).status_code
    for method, path, body in calls
}))
"""


def test_an_identity_that_was_copied_is_worth_nothing(guest, on, vault_api):
    identity = json.loads(on("sip-1", "cat", "/etc/voip-stack/vault/approle.json"))
    assert guest("pbx-1", ATTEMPT, vault_api, identity, []) == "login refused"
    assert guest("sip-1", ATTEMPT, vault_api, identity, []) == {}


@pytest.mark.parametrize("host", ["sip-1", "media-1", "media-2", "pbx-1", "devstack"])
def test_identity_is_for_root_only(host, on):
    listing = on(host, "stat", "-c", "%a %U", "/etc/voip-stack/vault/approle.json")
    assert listing.split() == ["600", "root"]


def test_no_root_token_is_left_and_the_unseal_key_is_roots(on):
    assert set(json.loads(on("devstack", "cat", UNSEAL))) == {"unseal_keys"}
    assert on("devstack", "stat", "-c", "%a %U", UNSEAL).split() == ["600", "root"]


def test_a_wrapping_token_is_good_once(salt):
    issued = salt("devstack", "voip_vault_identity.issue", "pbx-1")
    arguments = {"role_id": issued["role_id"], "wrap_token": issued["wrap_token"]}
    accessor = salt("pbx-1", "voip_vault.enrol", **arguments)
    assert salt("devstack", "voip_vault_identity.retire", "pbx-1", accessor) == 1
    with pytest.raises(Problem, match="spent or expired"):
        salt("pbx-1", "voip_vault.enrol", **arguments)
    assert salt("pbx-1", "voip_vault.is_enrolled") is True


@pytest.mark.parametrize("function", ["voip_vault.read", "voip_vault_admin.read"])
def test_no_job_returns_a_secret(function, salt):
    with pytest.raises(Problem, match="returns a secret"):
        salt("devstack", function, "hosts/devstack/redis")


def test_operator_reads_subscribers(pillar):
    numbers = [subscriber.number for subscriber in pillar.subscribers]
    passwords = vault.subscriber_passwords([*numbers, "999999"])
    assert sorted(passwords) == sorted(numbers)
    assert vault.identity_file().stat().st_mode & 0o777 == 0o600


def test_a_killed_vault_comes_back_unsealed(on, salt, eventually):
    on("devstack", "systemctl", "kill", "--signal=KILL", "openbao")

    def answers():
        try:
            return salt("sip-1", "voip_vault.is_enrolled")
        except Problem:
            return None

    assert eventually(answers, 30)


def test_a_missing_vault_is_said(on, salt):
    on("devstack", "systemctl", "stop", "openbao")
    try:
        with pytest.raises(Problem, match="does not answer"):
            salt("sip-1", "voip_vault.is_enrolled")
    finally:
        on("devstack", "systemctl", "start", "openbao")
    assert salt("sip-1", "voip_vault.is_enrolled") is True


def test_a_sealed_vault_is_said_and_the_state_mends_it(on, salt):
    on("devstack", "mv", UNSEAL, f"{UNSEAL}.away")
    try:
        on("devstack", "systemctl", "restart", "openbao")
        with pytest.raises(Problem, match="is sealed"):
            salt("sip-1", "voip_vault.is_enrolled")
    finally:
        on("devstack", "mv", f"{UNSEAL}.away", UNSEAL)
    assert salt("devstack", "openbao.status")["sealed"] is True
    salt("devstack", "state.apply", "openbao", timeout_s=120)
    assert salt("devstack", "openbao.status")["sealed"] is False
    assert salt("sip-1", "voip_vault.is_enrolled") is True
