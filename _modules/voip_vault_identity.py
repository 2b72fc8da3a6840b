"""Issue, replace and revoke the identities of hosts; runs as `provision`, on one machine.

An identity is an AppRole bound to its host's address, a policy, a PKI role and the host's folder in
the KV engine. Replacing has three steps, each of which may be the last for a while: a new secret_id
is issued (the old one works), the host proves it by a login and keeps it (both work), the others
are destroyed (`retire`). A secret_id carries the number of its issue as metadata, so that the one
that went astray is found and destroyed without anybody knowing it.
"""

import json
import uuid

import voip_vault_plan
from salt.exceptions import CommandExecutionError
from voip_errors import Denied, NotFound

__virtualname__ = "voip_vault_identity"


def __virtual__():
    return __virtualname__


def issue(name):
    """Issue a response-wrapped secret_id for the AppRole `name`. Earlier ones stay.

    Returns {"role_id", "wrap_token", "ttl_s", "issue"}: what travels is worth nothing once used,
    works from the AppRole's addresses only, and dies after ttl_s. issue: for `withdraw`.
    Policy: `provision` (see voip_vault_plan).
    """
    number = uuid.uuid4().hex
    wrapped = _vault().write(
        f"{_role(name)}/secret-id",
        {"metadata": json.dumps({"issue": number})},
        wrap_ttl_s=_settings()["wrap_ttl_s"],
    )["wrap_info"]
    return {
        "role_id": _vault().read(f"{_role(name)}/role-id")["role_id"],
        "wrap_token": wrapped["token"],
        "ttl_s": wrapped["ttl"],
        "issue": number,
    }


def retire(name, keep):
    """Destroy every secret_id of the AppRole `name` but one. Returns how many.

    keep: accessor of the one that its host has proved. Raises CommandExecutionError, and destroys
    nothing, when the AppRole has no such secret_id: a host would be left without any.
    """
    accessors = _vault().keys(f"{_role(name)}/secret-id")
    if keep not in accessors:
        raise CommandExecutionError(f"{name} has no secret_id with the accessor {keep}")
    return _destroy(name, [accessor for accessor in accessors if accessor != keep])


def retire_each(kept):
    """Return {name: what `retire` returns} for {name: accessor}, in one job."""
    return {name: retire(name, accessor) for name, accessor in kept.items()}


def withdraw(name, issue):
    """Destroy the secret_id of one issue, whoever has it, and all tokens of the AppRole `name`.

    Returns True when it was there: False says that it had ended already.
    """
    stray = [
        accessor
        for accessor in _vault().keys(f"{_role(name)}/secret-id")
        if _metadata(name, accessor).get("issue") == issue
    ]
    _destroy(name, stray)
    _end_tokens(name)
    return bool(stray)


def undeclared():
    """Return {host: [path, ...]} of what the Vault holds for hosts that pillar does not declare."""
    try:
        found = _found()
    except Denied:
        if not __opts__["test"]:
            raise
        found = {}  # a machine that is not provisioned yet
    return voip_vault_plan.undeclared(_settings(), found, __pillar__["voip"]["provisioning"])


def revoke(name):
    """Remove all that the Vault holds for the host `name`. Returns {what: how many}.

    Its KV secrets go with every version. Repeatable: what it is found by goes last.
    Raises CommandExecutionError for the machine's own identities.
    """
    settings = _settings()
    if name in voip_vault_plan.OWN:
        raise CommandExecutionError(f"{name} is no host: it is an identity of the platform")
    # The policy first: from then on no token of the host may do anything.
    _vault().delete(f"sys/policies/acl/host-{name}")
    done = {"secret_ids": _destroy(name, _vault().keys(f"{_role(name)}/secret-id"))}
    _end_tokens(name)
    _vault().delete(f"{settings['pki_mount']}/roles/{name}")
    fqdn = f"{name}.{__pillar__['voip']['site']['domain']}"
    done["certificates"] = __salt__["voip_vault_authority.revoke_of"](fqdn)
    done["secrets"] = _delete_folder(f"{settings['kv_mount']}/metadata/hosts/{name}")
    _vault().delete(_role(name))
    return done


def _found():
    """What the Vault holds that could be a host's, each read once."""
    settings = _settings()
    vault, approle = _vault(), settings["approle_mount"]
    known = {*__pillar__["voip"]["provisioning"], *voip_vault_plan.OWN}
    strange = [name for name in vault.keys(f"auth/{approle}/role") if name not in known]
    return {
        "policies": vault.keys("sys/policies/acl"),
        # In an existing Vault most of them are none of ours: their policies tell.
        "approles": {name: vault.read(_role(name)).get("token_policies") for name in strange},
        "pki_roles": vault.keys(f"{settings['pki_mount']}/roles"),
        "folders": vault.keys(f"{settings['kv_mount']}/metadata/hosts"),
    }


def _destroy(name, accessors):
    for accessor in accessors:
        _vault().write(
            f"{_role(name)}/secret-id-accessor/destroy", {"secret_id_accessor": accessor}
        )
    return len(accessors)


def _metadata(name, accessor):
    try:
        found = _vault().write(
            f"{_role(name)}/secret-id-accessor/lookup", {"secret_id_accessor": accessor}
        )
    except NotFound:  # it has just expired
        return {}
    return found["data"].get("metadata") or {}


def _end_tokens(name):
    """End every token that was had by the AppRole: batch tokens end with their entity.

    An existing Vault's entities are its owner's: there they end after token_ttl_s.
    """
    if _settings()["external"]:
        return
    try:
        role_id = _vault().read(f"{_role(name)}/role-id")["role_id"]
    except NotFound:
        return
    mount = _vault().read("sys/auth")[f"{_settings()['approle_mount']}/"]
    found = _vault().write(
        "identity/lookup/entity",
        {"alias_name": role_id, "alias_mount_accessor": mount["accessor"]},
    )
    if found:  # nobody may have logged in
        _vault().delete(f"identity/entity/id/{found['data']['id']}")


def _delete_folder(path):
    """Delete the KV secrets below a metadata path, all versions. Returns how many."""
    count = 0
    for key in _vault().keys(path):
        if key.endswith("/"):
            count += _delete_folder(f"{path}/{key.rstrip('/')}")
        else:
            _vault().delete(f"{path}/{key}")
            count += 1
    return count


def _role(name):
    return f"auth/{_settings()['approle_mount']}/role/{name}"


def _settings():
    return __pillar__["voip"]["vault"]


def _vault():
    return __salt__["voip_vault.session"]("provision")
