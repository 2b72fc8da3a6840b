"""Every host tries what every other host may: a table of paths and hosts, printed, all refused.

The control is in the same table: what is a host's own answers it.
"""

import pytest
from rich.console import Console
from rich.table import Table

from tests.told import tell

HOSTS = ["sip-1", "media-1", "media-2", "pbx-1", "devstack"]
# With this guest's identity, each call: {"VERB path": HTTP status}. CSR stands for a request of a
# key that was made here, in this host's name or the one that it would like to have.
ATTEMPT = """
import sys
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

where, calls = arguments
identity = json.load(open("/etc/voip-stack/vault/approle.json"))
session = requests.Session()
session.trust_env, session.verify = False, "/etc/voip-stack/tls/ca.crt"
login = session.post(f"{where}/auth/approle/login", timeout=10,
                     json={key: identity[key] for key in ("role_id", "secret_id")})
login.raise_for_status()
session.headers["X-Vault-Token"] = login.json()["auth"]["client_token"]

def csr(name):
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject)
    signed = request.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM).decode()

answers = {}
for verb, path, body in calls:
    if body and "csr" in body:
        body = {**body, "csr": csr(body["common_name"])}
    answers[f"{verb} {path}"] = session.request(
        verb, f"{where}/{path}", json=body, timeout=10).status_code
print(json.dumps(answers))
"""
# What only who provisions may, or nobody by network.
ADMINISTRATION = [
    ("LIST", "voip/metadata/", None),
    ("LIST", "voip/metadata/hosts", None),
    ("GET", "sys/mounts", None),
    ("GET", "sys/auth", None),
    ("GET", "sys/audit", None),
    ("LIST", "sys/policies/acl", None),
    ("GET", "sys/policies/acl/operator", None),
    ("GET", "sys/policies/acl/provision", None),
    ("LIST", "auth/approle/role", None),
    ("GET", "auth/approle/role/provision/role-id", None),
    ("POST", "auth/approle/role/provision/secret-id", {}),
    ("POST", "auth/approle/role/operator/secret-id", {}),
    ("POST", "auth/token/create", {}),
    ("POST", "auth/token/create-orphan", {}),
    ("LIST", "auth/token/accessors", None),
    ("LIST", "identity/entity/id", None),
    ("POST", "pki/root/sign-intermediate", {"csr": "", "common_name": "mine"}),
    ("POST", "pki_int/root/generate/internal", {"common_name": "mine"}),
    ("POST", "pki_int/roles/mine", {"allow_any_name": True}),
    ("POST", "pki_int/revoke", {"serial_number": "00"}),
    ("POST", "sys/seal", {}),
    ("POST", "sys/mounts/mine", {"type": "kv"}),
    ("POST", "sys/generate-root/attempt", {}),
    ("GET", "sys/storage/raft/snapshot", None),
]


def of_host(name, entry, domain):
    """What belongs to one host: (verb, path, body, whether it may do so itself)."""
    fqdn = f"{name}.{domain}"
    role, mine = f"auth/approle/role/{name}", {"common_name": fqdn, "csr": "", "ttl": "60s"}
    secrets = [f"voip/data/hosts/{name}/{secret}" for secret in entry["secrets"]]
    yield from (("GET", path, None, True) for path in secrets)
    yield from (("POST", path, {"data": {"password": "x"}}, False) for path in secrets)
    yield "LIST", f"voip/metadata/hosts/{name}", None, False
    yield "DELETE", f"voip/metadata/hosts/{name}/none", None, False
    yield "POST", f"pki_int/sign/{name}", mine, bool(entry["names"])
    yield "POST", f"pki_int/issue/{name}", {"common_name": fqdn}, False
    yield "GET", f"pki_int/roles/{name}", None, False
    yield "POST", f"pki_int/roles/{name}", {"allow_any_name": True}, False
    yield "GET", role, None, False
    yield "POST", role, {"token_policies": ["operator"]}, False
    yield "GET", f"{role}/role-id", None, False
    yield "POST", f"{role}/secret-id", {}, False
    yield "LIST", f"{role}/secret-id", None, False
    yield "GET", f"sys/policies/acl/host-{name}", None, False
    yield "POST", f"sys/policies/acl/host-{name}", {"policy": 'path "*" {}'}, False


def of_roles(provisioning):
    """Folders that some roles share: (verb, path, body, hosts that may)."""
    folders = {folder for entry in provisioning.values() for folder in entry["access"]}
    for folder in sorted(folders):
        may = {name for name, entry in provisioning.items() if folder in entry["access"]}
        yield "LIST", f"voip/metadata/{folder}", None, may
        yield "GET", f"voip/data/{folder}/100", None, may


@pytest.fixture(scope="module")
def attempts(pillar, compiled):
    """[(verb, path, body, hosts that may)]: every path once."""
    provisioning = compiled("devstack")["provisioning"]
    found = [
        (verb, path, body, {name} if is_own else set())
        for name, entry in provisioning.items()
        for verb, path, body, is_own in of_host(name, entry, pillar.site.domain)
    ]
    found += of_roles(provisioning)
    return found + [(verb, path, body, set()) for verb, path, body in ADMINISTRATION]


def test_every_host_is_refused_what_is_another_hosts(guest, vault_api, attempts):
    calls = [attempt[:3] for attempt in attempts]
    answers = {host: guest(host, ATTEMPT, vault_api, calls) for host in HOSTS}
    table = Table("path", *HOSTS, title="Answers of the Vault to each host's own identity")
    wrong, granted = [], 0
    for verb, path, _, may in attempts:
        row = []
        for host in HOSTS:
            code = answers[host][f"{verb} {path}"]
            # An empty folder is no refusal: 404 comes after the policy has let it pass.
            is_right = code in (200, 404) if host in may else code in (403, 405)
            granted += host in may and code == 200
            row.append(f"{code}{' own' if host in may else ''}{'' if is_right else ' WRONG'}")
            if not is_right:
                wrong.append(f"{host}: {verb} {path}: {code}")
        table.add_row(f"{verb} {path}", *row)
    console = Console(width=110)
    with console.capture() as capture:
        console.print(table)
    summary = f"{len(attempts)} paths x {len(HOSTS)} hosts, {granted} own, the others refused"
    tell("the Vault's paths and the hosts", f"{capture.get()}{summary}")
    assert wrong == []
    assert granted >= 2 * len(HOSTS), "each host reads its own and has its own certified"
