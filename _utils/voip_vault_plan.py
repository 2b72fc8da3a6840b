"""What the Vault must hold for the platform, as {path: values}: pure data made from the pillar.

Each value is written as the API returns it (seconds as numbers, lists as lists), so that comparing
needs no conversion: a duration that comes back in another form would be rewritten at every run.
"""

import ipaddress
import json

# What everybody may do: look at their own token. The `default` policy is wider, so not given.
SELF = {"auth/token/lookup-self": ["read"]}
# AppRoles and policies that are no host's.
OWN = ("provision", "operator")
# A certificate that lives for minutes leaves its record behind: once a day those go that ended
# three days ago (seconds). Revoked ones as well: no list needs them once they have ended.
_TIDY = {
    "enabled": True,
    "interval_duration": 86400,
    "safety_buffer": 259200,
    "tidy_cert_store": True,
    "tidy_revoked_certs": True,
}


def mounts(settings, pki):
    """Return the secret engines: {mount: {"type", "options", "max_lease_ttl_s"}}."""
    return {
        settings["kv_mount"]: {"type": "kv", "options": {"version": "2"}},
        settings["pki_root_mount"]: {"type": "pki", "max_lease_ttl_s": pki["root_ttl_s"]},
        settings["pki_mount"]: {"type": "pki", "max_lease_ttl_s": pki["intermediate_ttl_s"]},
    }


def provisioner(settings, address):
    """Return the policy and AppRole of the identity that provisions: it cannot change its own.

    address: of the machine that provisions: the identity is worth nothing elsewhere.
    """
    approle, kv, pki = settings["approle_mount"], settings["kv_mount"], settings["pki_mount"]
    rules = {
        **SELF,
        "sys/mounts": ["read"],
        f"{kv}/*": ["create", "read", "update", "patch", "list"],
        f"{kv}/metadata/hosts/*": ["create", "read", "update", "patch", "list", "delete"],
        "sys/policies/acl": ["list"],
        "sys/policies/acl/host-*": ["create", "read", "update", "delete"],
        "sys/policies/acl/operator": ["create", "read", "update"],
        f"auth/{approle}/role": ["list"],
        f"auth/{approle}/role/*": ["create", "read", "update", "list", "delete"],
        f"{pki}/roles/*": ["create", "read", "update", "list", "delete"],
    }
    if not settings["external"]:
        # To end a host's tokens at once; the entities of an existing Vault are its owner's.
        rules |= {
            "sys/auth": ["read"],
            "identity/lookup/entity": ["update"],
            "identity/entity/id/*": ["delete"],
        }
        for kind in ("issuer", "key"):  # an intermediate CA whose turn is over goes
            rules[f"{pki}/{kind}/*"] = ["create", "read", "update", "delete", "list"]
    for mount in (kv, settings["pki_root_mount"], settings["pki_mount"]):
        rules[f"sys/mounts/{mount}"] = ["create", "read", "update"]
        rules[f"sys/mounts/{mount}/tune"] = ["read", "update"]
    for mount in (settings["pki_root_mount"], settings["pki_mount"]):
        rules[f"{mount}/*"] = ["create", "read", "update", "list"]
    rules[f"auth/{approle}/role/provision/*"] = ["deny"]
    rules["sys/policies/acl/provision"] = ["read"]
    rules[f"sys/auth/{approle}/tune"] = ["read", "sudo"]  # a protected path
    rules[f"auth/{approle}/role/provision"] = ["read"]
    # A secret_id lives no longer than its mount allows: 32 days by default.
    tuned = {f"sys/auth/{approle}/tune": {"max_lease_ttl": settings["secret_id_ttl_s"]}}
    role = _approle(settings, "provision", address, secret_id_ttl_s=0)
    return tuned | _policy("provision", rules) | role


def objects(settings, pki, hosts, control):
    """Return every policy, AppRole and PKI role: {path: values}.

    hosts: pillar's `provisioning`: {host: {"address", "roles", "secrets", "names",
        "addresses", "access"}}.
    control: address of the control host, for the `operator` identity.
    """
    found = {}
    for name, host in hosts.items():
        found |= _policy(f"host-{name}", _host_rules(settings, name, host))
        found |= _approle(settings, name, host["address"], policy=f"host-{name}")
        if host["names"]:
            found |= _pki_role(settings, pki, name, host)
    found |= _policy("operator", _operator_rules(settings, hosts))
    found |= _approle(settings, "operator", control)
    if not settings["external"]:  # of an existing PKI they are its owner's
        found |= _revocation(settings, pki)
    return found


def secrets(hosts):
    """Return the generated secrets: {kv path: username}. Each has `username` and `password`."""
    return {
        f"hosts/{name}/{secret}": name for name, host in hosts.items() for secret in host["secrets"]
    }


def undeclared(settings, found, hosts):
    """Return {host: [path, ...]} of what `found` holds for hosts that are not in `hosts`.

    found: {"policies": [name], "approles": {name: [policy]}, "pki_roles": [name], "folders":
        ["name/"]}. Ours is what bears a host's policy, an AppRole with exactly that policy, or a
        folder in our KV engine; a PKI role counts only beside one of these: an existing Vault has
        others.
    """
    policies = {name.removeprefix("host-") for name in found["policies"] if name[:5] == "host-"}
    approles = {name for name, given in found["approles"].items() if given == [f"host-{name}"]}
    folders = {name.rstrip("/") for name in found["folders"]}
    gone = {}
    for name in sorted((policies | approles | folders) - set(hosts)):
        paths = {
            f"sys/policies/acl/host-{name}": name in policies,
            f"auth/{settings['approle_mount']}/role/{name}": name in approles,
            f"{settings['pki_mount']}/roles/{name}": name in found["pki_roles"],
            f"{settings['kv_mount']}/metadata/hosts/{name}": name in folders,
        }
        gone[name] = sorted(path for path, is_there in paths.items() if is_there)
    return gone


def difference(current, wanted):
    """Return {key: {"old", "new"}} of the wanted values that `current` does not have.

    Keys that are not wanted are the server's business. Lists are compared without their order.
    """
    return {
        key: {"old": current.get(key), "new": value}
        for key, value in wanted.items()
        if _normal(current.get(key)) != _normal(value)
    }


def policy_text(rules):
    """Return {path: [capability, ...] or (line, ...)} in the policy language, sorted."""
    text = ""
    for path, rule in sorted(rules.items()):
        lines = [f"capabilities = {json.dumps(rule)}"] if isinstance(rule, list) else rule
        text += "\n".join([f'path "{path}" {{', *(f"  {line}" for line in lines), "}", ""])
    return text


def _host_rules(settings, name, host):
    kv = settings["kv_mount"]
    rules = {**SELF, f"{kv}/data/hosts/{name}/*": ["read"]}
    if host["names"]:
        rules[f"{settings['pki_mount']}/sign/{name}"] = ["update"]
    for folder, capabilities in host["access"].items():
        if given := [item for item in capabilities if item != "list"]:
            rules[f"{kv}/data/{folder}/*"] = given
        if "list" in capabilities:
            rules[f"{kv}/metadata/{folder}/*"] = ["list"]
            rules[f"{kv}/metadata/{folder}"] = ["list"]
    return rules


def _operator_rules(settings, hosts):
    """Read subscribers' passwords and recordings' keys; issue secret_ids, wrapped, of hosts."""
    kv, approle = settings["kv_mount"], settings["approle_mount"]
    wrapped = (
        'capabilities = ["update"]',
        'min_wrapping_ttl = "1s"',
        f'max_wrapping_ttl = "{settings["wrap_ttl_s"]}s"',
    )
    rules = {
        **SELF,
        f"{kv}/data/subscribers/*": ["read"],
        f"{kv}/metadata/subscribers/*": ["list"],
        f"{kv}/metadata/subscribers": ["list"],
    }
    for name, host in hosts.items():
        if "recordings" in host["secrets"]:
            rules[f"{kv}/data/hosts/{name}/recordings"] = ["read"]
        rules[f"auth/{approle}/role/{name}/secret-id"] = wrapped
        rules[f"auth/{approle}/role/{name}/role-id"] = ["read"]
    return rules


def _policy(name, rules):
    return {f"sys/policies/acl/{name}": {"policy": policy_text(rules)}}


def _approle(settings, name, address, policy=None, secret_id_ttl_s=None):
    """An AppRole whose secret_ids and tokens work from one address only.

    Batch tokens: a login then writes nothing to storage, and a no-op run leaves nothing behind.
    """
    cidr = f"{address}/32"
    ttl_s = settings["secret_id_ttl_s"] if secret_id_ttl_s is None else secret_id_ttl_s
    return {
        f"auth/{settings['approle_mount']}/role/{name}": {
            "bind_secret_id": True,
            "secret_id_bound_cidrs": [cidr],
            "secret_id_num_uses": 0,
            "secret_id_ttl": ttl_s,
            "token_bound_cidrs": [address],
            "token_no_default_policy": True,
            "token_policies": [policy or name],
            "token_ttl": settings["token_ttl_s"],
            "token_max_ttl": settings["token_ttl_s"],
            "token_type": "batch",
        }
    }


def _pki_role(settings, pki, name, host):
    values = {
        "allow_any_name": False,
        "allow_bare_domains": True,
        "allow_glob_domains": False,
        "allow_ip_sans": True,
        "allow_localhost": False,
        "allow_subdomains": False,
        "allow_wildcard_certificates": False,
        "allowed_domains": host["names"],
        "client_flag": True,
        "key_bits": 256,
        "key_type": "ec",
        "max_ttl": host["ttl_s"],
        "not_before_duration": pki["backdate_s"],
        "require_cn": True,
        "server_flag": True,
        "ttl": host["ttl_s"],
        "use_csr_common_name": True,
        "use_csr_sans": False,
    }
    if not settings["external"]:
        # OpenBao's own; HashiCorp's Vault does not know it.
        values["allowed_ip_sans_cidr"] = [
            str(ipaddress.ip_network(item)) for item in host["addresses"]
        ]
    return {f"{settings['pki_mount']}/roles/{name}": values}


def _revocation(settings, pki):
    """How the revocation lists live, and where certificates say that they and issuers are found.

    By issuer, so that a certificate's addresses stay right when another issuer takes over. Lists
    are made anew by time, long before they end, and by `voip_vault_authority` when one is revoked.
    """
    found = {}
    for mount in (settings["pki_root_mount"], settings["pki_mount"]):
        issuer = f"{settings['url']}/v1/{mount}/issuer/{{{{issuer_id}}}}"
        found[f"{mount}/config/urls"] = {
            "crl_distribution_points": [f"{issuer}/crl/der"],
            "issuing_certificates": [f"{issuer}/der"],
            "enable_templating": True,
        }
        found[f"{mount}/config/crl"] = {
            "expiry": f"{pki['crl_ttl_s']}s",
            "auto_rebuild": True,
            "auto_rebuild_grace_period": f"{pki['crl_ttl_s'] - pki['crl_rebuild_s']}s",
        }
        found[f"{mount}/config/auto-tidy"] = _TIDY
    return found


def _normal(value):
    return sorted(value) if isinstance(value, list) else value
