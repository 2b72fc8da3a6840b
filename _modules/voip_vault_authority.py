"""The platform's certificate authority in the Vault: revoke, and have the lists made anew.

Runs as the `provision` identity of one machine. A certificate is named by its serial number, in
hex as voip_x509.describe gives it. Lists are made by time (pillar vault.yaml: crl_rebuild_s), so
each function that revokes has them made at once too.

The intermediate CA is rotated by steps (_utils/voip_authority_plan.py), led by the master
(voip_stack/certificates/authority.py).
"""

import datetime
import uuid

import voip_authority_plan
import voip_x509
from salt.exceptions import CommandExecutionError
from voip_errors import NotFound

__virtualname__ = "voip_vault_authority"


def __virtual__():
    return __virtualname__


def revoked(serials):
    """Return {serial: Unix time of its revocation, None of one that is good}.

    One that the Vault does not know is not in the answer. Policy: `provision`.
    """
    found = {}
    for serial in serials:
        try:
            about = _vault().read(f"{_mount()}/cert/{_colons(serial)}")
        except NotFound:
            continue
        found[serial] = about.get("revocation_time") or None
    return found


def revoke(serial):
    """Revoke one certificate of the intermediate CA. Returns {"revoked_at": Unix time}.

    Repeatable: of one that is revoked already, the time at which it was. Policy: `provision`.
    """
    answer = _vault().write(f"{_mount()}/revoke", {"serial_number": _colons(serial)})
    rotate_lists()
    return {"revoked_at": answer["data"]["revocation_time"]}


def revoke_of(name):
    """Revoke all that bears the DNS name `name` and is not over. Returns how many there were."""
    return _revoke(lambda about: name in about["names"])


def rotate_lists():
    """Have the lists of all issuers made anew, now. Returns True."""
    settings = __pillar__["voip"]["vault"]
    for mount in (settings["pki_root_mount"], settings["pki_mount"]):
        _vault().read(f"{mount}/crl/rotate")
    return True


def issued_to(name):
    """Return [serial, ...] of what bears the DNS name `name`, is not over and not revoked."""
    return [_plain(serial) for serial, _ in _good(lambda about: name in about["names"])]


def progress():
    """Return {"phase", "step", "old", "new", "issuers", "due"} of the rotation, no secret.

    old, new: key identifiers (hex) of the intermediate CAs, None outside a rotation. issuers:
    [{"name", "authority", "not_after", "signs", "is_default"}]. due: bool, whether what it signs
    could outlive the one in use.
    """
    document, _ = _document()
    issuers = _issuers()
    of = {issuer: about["authority"] for issuer, about in issuers.items()}
    return {
        "phase": voip_authority_plan.phase(document),
        "step": voip_authority_plan.step(document),
        "old": of.get(document.get("old")),
        "new": of.get(document.get("new")),
        "issuers": [
            {key: about[key] for key in ("name", "authority", "not_after", "signs", "is_default")}
            for about in issuers.values()
        ],
        "due": _is_due(issuers),
    }


def advance(step, **more):
    """Do one step of the rotation and write the phase after it. Returns `progress`.

    step: a key of voip_authority_plan.STEPS. more: of "begin" common_name (str) and revoke_old
    (bool: the root is to revoke the old one at the end). Repeatable: killed before the phase is
    written, it is done again. Raises CommandExecutionError in a phase that has no such step.
    """
    more = {key: value for key, value in more.items() if not key.startswith("__")}
    document, version = _document()
    voip_authority_plan.after(document, step)
    found = _STEPS[step](document, **more)
    _vault().write(
        _path(),
        {
            "data": voip_authority_plan.after(document, step, found),
            "options": {"cas": version},
        },
    )
    return progress()


def _begin(document, common_name, revoke_old=False):
    if __pillar__["voip"]["vault"]["external"]:
        raise CommandExecutionError(
            "the intermediate CA of an existing Vault is its owner's: he rotates it"
        )
    began = datetime.datetime.now(datetime.UTC)
    return {
        "name": f"{common_name} {began:%Y-%m-%dT%H:%M:%SZ}",
        "key_name": f"intermediate-{uuid.uuid4().hex}",
        "old": _default(),
        "revoke_old": revoke_old,
    }


def _make(document):
    """A new intermediate CA beside the old one. A key that a crash left without one is dropped."""
    mount, name = _mount(), document["key_name"]
    keys = _keys_named(name)
    made = [item for item, about in _issuers().items() if about["key_id"] in keys]
    if not made:
        for key in keys:
            _vault().delete(f"{mount}/key/{key}")
        __salt__["voip_vault_admin.make_intermediate"](document["name"], name)
        keys = _keys_named(name)
        made = [item for item, about in _issuers().items() if about["key_id"] in keys]
    rotate_lists()
    return {"new": made[0]}


def _switch(document):
    _vault().write(f"{_mount()}/config/issuers", {"default": document["new"]})


def _close(document):
    if _default() != document["new"]:
        raise CommandExecutionError("the old intermediate CA is the default again: who changed it?")
    _vault().write(f"{_mount()}/issuer/{document['old']}", {"usage": "crl-signing,read-only"})


def _withdraw(document):
    old = _issuers()[document["old"]]
    _revoke(lambda about: about["authority"] == old["authority"])
    if document["revoke_old"]:
        root = __pillar__["voip"]["vault"]["pki_root_mount"]
        _vault().write(f"{root}/revoke", {"serial_number": old["serial"]})
    rotate_lists()
    return {"old_key": old["key_id"]}


def _remove(document):
    """The old one and its key are deleted: nobody signs by it any more, not even a list."""
    if document["old"] in _issuers():
        _vault().delete(f"{_mount()}/issuer/{document['old']}")
    if document["old_key"] in _vault().keys(f"{_mount()}/keys"):
        _vault().delete(f"{_mount()}/key/{document['old_key']}")
    rotate_lists()


_STEPS = {
    "begin": _begin,
    "make": _make,
    "switch": _switch,
    "close": _close,
    "withdraw": _withdraw,
    "remove": _remove,
}


def _issuers():
    """{issuer: {"name", "authority", "serial", "key_id", "not_after", "signs", "is_default"}} of
    the intermediate's mount that are ours: those that have a key."""
    found = {}
    for issuer, about in _vault().call("list", f"{_mount()}/issuers")["data"]["key_info"].items():
        if not about["key_id"]:
            continue  # the root, which comes with each chain
        known = _vault().read(f"{_mount()}/issuer/{issuer}")
        described = voip_x509.describe(known["certificate"])
        found[issuer] = {
            "name": voip_x509.common_name(known["certificate"]),
            "authority": voip_x509.key_identifier(known["certificate"]),
            "serial": about["serial_number"],
            "key_id": about["key_id"],
            "not_after": described["not_after"],
            "signs": "issuing-certificates" in known["usage"],
            "is_default": about["is_default"],
        }
    return found


def _is_due(issuers):
    """Whether the longest certificate that is signed now would outlive its intermediate CA.

    One that is made to live hardly longer than what it signs is never due: it always would be.
    """
    voip = __pillar__["voip"]
    longest = max((entry["ttl_s"] for entry in voip["provisioning"].values()), default=0)
    if voip["vault"]["external"] or voip["pki"]["intermediate_ttl_s"] < 2 * longest:
        return False
    ends = [about["not_after"] for about in issuers.values() if about["is_default"]]
    now = datetime.datetime.now(datetime.UTC)
    return any(
        (datetime.datetime.fromisoformat(end) - now).total_seconds() < longest for end in ends
    )


def _keys_named(name):
    keys = _vault().call("list", f"{_mount()}/keys")["data"].get("key_info") or {}
    return [key for key, about in keys.items() if about.get("key_name") == name]


def _default():
    return _vault().read(f"{_mount()}/config/issuers")["default"]


def _document():
    """The rotation's document and its version, ({}, 0) before the first."""
    try:
        answer = _vault().read(_path())
    except NotFound:
        return {}, 0
    return answer["data"], answer["metadata"]["version"]


def _path():
    return f"{__pillar__['voip']['vault']['kv_mount']}/data/authority/rotation"


def _revoke(is_meant):
    """Revoke the certificates that are good and is_meant(about). Returns how many."""
    meant = _good(is_meant)
    for serial, _ in meant:
        _vault().write(f"{_mount()}/revoke", {"serial_number": serial})
    if meant:
        rotate_lists()
    return len(meant)


def _good(is_meant):
    """[(serial as the Vault names it, about)] of the leaves that are good and is_meant(about)."""
    now, found = datetime.datetime.now(datetime.UTC), []
    for serial in _vault().keys(f"{_mount()}/certs"):
        entry = _vault().read(f"{_mount()}/cert/{serial}")
        about = voip_x509.describe(entry["certificate"])
        is_over = datetime.datetime.fromisoformat(about["not_after"]) < now
        if is_over or entry.get("revocation_time") or voip_x509.is_ca(entry["certificate"]):
            continue
        if is_meant(about):
            found.append((serial, about))
    return found


def _colons(serial):
    """As the Vault names it: bytes in hex, with colons."""
    digits = serial if len(serial) % 2 == 0 else f"0{serial}"
    return ":".join(digits[at : at + 2] for at in range(0, len(digits), 2))


def _plain(serial):
    """As voip_x509.describe gives it."""
    return serial.replace(":", "").replace("-", "").lstrip("0")


def _mount():
    return __pillar__["voip"]["vault"]["pki_mount"]


def _vault():
    return __salt__["voip_vault.session"]("provision")
