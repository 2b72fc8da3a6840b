"""Identities in the lab: replaced by a beacon, intercepted, audited, revoked with their host."""

import contextlib
import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.lab.salt_bus import await_job, listening
from voip_stack.events import record
from voip_stack.master import client
from voip_stack.pillar.identity import SLOWEST_S

APPROLE = "/etc/voip-stack/vault/approle.json"
AUDIT_LOG = "/var/log/openbao/audit.log"
# What whoever holds this wrapping token does, from this guest's address.
STEAL = """
import requests
where, token, role_id = arguments
session = requests.Session()
session.trust_env, session.verify = False, "/etc/voip-stack/tls/ca.crt"
answer = session.post(f"{where}/sys/wrapping/unwrap", headers={"X-Vault-Token": token}, timeout=10)
answer.raise_for_status()
print(json.dumps({"role_id": role_id, "secret_id": answer.json()["data"]["secret_id"]}))
"""
LOG_IN = """
import requests
where, identity = arguments
identity = identity or json.load(open("/etc/voip-stack/vault/approle.json"))
session = requests.Session()
session.trust_env, session.verify = False, "/etc/voip-stack/tls/ca.crt"
print(json.dumps(session.post(f"{where}/auth/approle/login", timeout=10, json={
    key: identity[key] for key in ("role_id", "secret_id")}).ok))
"""
# The objects of a host that pillar does not know, as an earlier pillar would have had them made.
LEFT_BEHIND = """
import salt.client
caller = salt.client.Caller(mopts=None)
vault = caller.sminion.functions["voip_vault.session"]("provision")
name, = arguments
vault.write(f"sys/policies/acl/host-{name}", {"policy": 'path "none" { capabilities = ["deny"] }'})
vault.write(f"auth/approle/role/{name}", {"token_policies": [f"host-{name}"]})
vault.write(f"pki_int/roles/{name}", {"allowed_domains": ["gone.test"]})
vault.write(f"voip/data/hosts/{name}/redis", {"data": {"password": "of-a-host-that-is-gone"}})
print("true")
"""


@pytest.fixture
def held(on):
    """held("sip-1"): what that host keeps of its identity, without the secret."""

    def read(host):
        found = json.loads(on(host, "cat", APPROLE))
        return {key: found[key] for key in ("accessor", "issued", "expires")}

    return read


@pytest.fixture
def make_due(on):
    """make_due("sip-1"): that host's identity says that less than a third of its life is left.

    Returns it as it was.
    """

    def edit(host):
        old = json.loads(on(host, "cat", APPROLE))
        edited = old | {"issued": int(time.time()) - 1000, "expires": int(time.time()) + 200}
        write = f"umask 077; cat > {APPROLE}.edited; mv {APPROLE}.edited {APPROLE}"
        on(host, "sh", "-c", write, stdin=json.dumps(edited).encode())
        return old

    return edit


def test_one_that_nears_its_end_is_replaced_by_itself(held, make_due, guest, vault_api, eventually):
    """Beacon, signed event, handler: that host alone, and nobody ran anything."""
    before = {host: held(host) for host in ("sip-1", "pbx-1")}
    old = make_due("sip-1")
    began = time.monotonic()
    eventually(
        lambda: held("sip-1")["accessor"] != before["sip-1"]["accessor"], 2 * SLOWEST_S + 30, 1
    )
    print(f"replaced after {time.monotonic() - began:.0f} s; the beacon looks every {SLOWEST_S} s")
    assert guest("sip-1", LOG_IN, vault_api, None) is True
    eventually(lambda: guest("sip-1", LOG_IN, vault_api, old) is False, 15, 0.5)
    assert held("pbx-1") == before["pbx-1"]


def test_an_intercepted_one_is_worth_nothing_and_told_once(guest, vault_api, held, on, make_due):
    """The runner of `up` and of the event delivers; the thief reads the bus and is faster.

    Minions are stopped to make him so: devstack's until the host's stands still.
    """
    began, before = time.time(), held("pbx-1")
    make_due("pbx-1")
    with listening() as bus, ThreadPoolExecutor(1) as pool, contextlib.ExitStack() as frozen:
        provisioner = frozen.enter_context(stopped(on, "devstack"))
        enrolled = pool.submit(client.runner, "voip_vault.enrol", hosts=["pbx-1"])
        await_job(bus, "voip_vault_identity.issue")
        with stopped(on, "pbx-1"):
            provisioner()
            (sent,) = await_job(bus, "voip_vault.accept")["arg"]
            stolen = guest("pbx-1", STEAL, vault_api, sent["wrap_token"], sent["role_id"])
            assert guest("pbx-1", LOG_IN, vault_api, stolen) is True, "the thief is in"
        assert enrolled.result(120) == {"pbx-1": "enrolled"}
    assert guest("pbx-1", LOG_IN, vault_api, stolen) is False
    assert guest("pbx-1", LOG_IN, vault_api, None) is True
    assert held("pbx-1")["accessor"] != before["accessor"]
    told = [entry for entry in record.read("security", began) if entry["host"] == "pbx-1"]
    assert [entry["kind"] for entry in told] == ["identity/intercepted"]
    assert stolen["secret_id"] not in json.dumps(told)


@contextlib.contextmanager
def stopped(on, host):
    """The minion of `host` under SIGSTOP; yields what lets it go on before the end."""

    def signal(name):
        on(host, "systemctl", "kill", f"--signal={name}", "salt-minion")

    signal("STOP")
    try:
        yield lambda: signal("CONT")
    finally:
        signal("CONT")


def test_what_a_host_left_behind_is_removed_and_predicted(guest, salt):
    name = "gone-9"
    guest("devstack", LEFT_BEHIND, name)
    assert list(salt("devstack", "voip_vault_identity.undeclared")) == [name]
    paths = salt("devstack", "voip_vault_identity.undeclared")[name]
    assert len(paths) == 4
    predicted = _retired(salt("devstack", "state.apply", "vault", test=True, timeout_s=120))
    assert predicted["result"] is None
    done = _retired(salt("devstack", "state.apply", "vault", timeout_s=120))
    assert done["result"] is True
    assert done["changes"] == predicted["changes"] == {name: {"old": paths, "new": None}}
    assert salt("devstack", "voip_vault_identity.undeclared") == {}


def _retired(states):
    return next(state for key, state in states.items() if key.endswith("_|-retired"))


def test_every_request_is_audited_and_no_value_readable(on, guest, vault_api, salt):
    """Also across a rotation of the log."""
    on("devstack", "logrotate", "--force", "/etc/logrotate.d/openbao")
    on("devstack", "test", "-s", f"{AUDIT_LOG}.1")
    assert guest("sip-1", LOG_IN, vault_api, None) is True
    log = on("devstack", "cat", AUDIT_LOG)
    entries = [json.loads(line) for line in log.splitlines()]
    logins = [e for e in entries if e["request"]["path"] == "auth/approle/login"]
    assert any(e["request"]["remote_address"] for e in logins)
    own = json.loads(on("sip-1", "cat", APPROLE))
    assert own["secret_id"] not in log
    assert on("devstack", "stat", "-c", "%a %U", AUDIT_LOG).split() == ["600", "openbao"]
