"""Provision the Vault for the platform: engines, CAs, policies, AppRoles, generated secrets.

Everything runs as the `provision` identity of one machine. Comparing costs one read per object,
over one connection. saltext-vault's states do one object each, with an identity from the minion's
configuration, and cannot say in test mode what a missing engine will hold: not used here.
"""

import time

import voip_credentials
import voip_vault_plan
import voip_x509
from salt.exceptions import CommandExecutionError
from voip_errors import Denied, NotFound, Refused

__virtualname__ = "voip_vault_admin"

UPGRADE_TIMEOUT_S = 10


def __virtual__():
    return __virtualname__


def engine_difference():
    """Return {mount: {"old", "new"}} of the secret engines that are missing or tuned otherwise."""
    settings, pki = _settings()
    try:
        current = _vault().read("sys/mounts")
    except Denied:
        if not __opts__["test"]:
            raise
        current = {}  # a machine that is not provisioned yet: all of it would be new
    found = {}
    for mount, wanted in voip_vault_plan.mounts(settings, pki).items():
        had = _engine(current.get(f"{mount}/"), wanted)
        if had and settings["external"] and had["type"] == wanted["type"]:
            continue  # how an existing engine is tuned is its owner's business
        if had != wanted:
            found[mount] = {"old": had, "new": wanted}
    return found


def make_engine(mount, old, new):
    """Enable the secret engine `mount`, or tune it when it exists (old is not None)."""
    config = {"max_lease_ttl": f"{new['max_lease_ttl_s']}s"} if "max_lease_ttl_s" in new else {}
    if old is not None:
        _vault().write(f"sys/mounts/{mount}/tune", config)
        return
    _vault().write(
        f"sys/mounts/{mount}",
        {"type": new["type"], "options": new.get("options"), "config": config},
    )
    if new["type"] == "kv":
        _await_kv(mount)


def object_difference():
    """Return {path: {key: {"old", "new"}}} of the policies, AppRoles and roles that differ."""
    return {path: found for path, (found, _) in _differing_objects().items()}


def write_objects():
    """Write the objects that differ. Returns their paths."""
    differing = _differing_objects()
    for path, (_, wanted) in differing.items():
        _vault().write(path, wanted)
    return sorted(differing)


def missing_authorities():
    """Return which of the root and intermediate mounts have no CA yet, in order of making."""
    settings, _ = _settings()
    return [
        mount
        for mount in (settings["pki_root_mount"], settings["pki_mount"])
        if not authority(mount)
    ]


def authority(mount):
    """Return the PEM of the mount's CA certificate, None when it has none."""
    try:
        return _vault().read(f"{mount}/cert/ca").get("certificate") or None
    except NotFound:
        return None
    except Denied:
        if __opts__["test"]:
            return None
        raise
    except Refused:
        return None  # "no default issuer"


def make_root(common_name):
    """Make the root CA inside the Vault: P-256, its key never leaves. Returns its PEM."""
    settings, pki = _settings()
    return _vault().write(
        f"{settings['pki_root_mount']}/root/generate/internal",
        {
            "common_name": common_name,
            "key_type": "ec",
            "key_bits": 256,
            "ttl": f"{pki['root_ttl_s']}s",
            "max_path_length": 1,
            "exclude_cn_from_sans": True,
        },
    )["data"]["certificate"]


def make_intermediate(common_name, key_name=None):
    """Make an intermediate CA and have the root sign it. Returns its PEM.

    The first one of its mount is the default that signs. key_name: of its key in the Vault, to
    find it again.
    """
    settings, pki = _settings()
    root, intermediate = settings["pki_root_mount"], settings["pki_mount"]
    csr = _vault().write(
        f"{intermediate}/intermediate/generate/internal",
        {
            "common_name": common_name,
            "key_type": "ec",
            "key_bits": 256,
            "exclude_cn_from_sans": True,
        }
        | ({"key_name": key_name} if key_name else {}),
    )["data"]["csr"]
    signed = _vault().write(
        f"{root}/root/sign-intermediate",
        {
            "csr": csr,
            "common_name": common_name,
            "ttl": f"{pki['intermediate_ttl_s']}s",
            "max_path_length": 0,
            "exclude_cn_from_sans": True,
        },
    )["data"]["certificate"]
    chain = f"{signed.strip()}\n{authority(root).strip()}\n"
    _vault().write(f"{intermediate}/intermediate/set-signed", {"certificate": chain})
    return signed


def request():
    """Return what an existing Vault's administrator writes for us to provision it: {path: values}.

    Then he issues a secret_id of the AppRole and puts role_id and secret_id into
    /etc/voip-stack/vault/provision.json of this machine (docs/installation.md).
    """
    settings, _ = _settings()
    address = __pillar__["voip"]["self"]["addresses"]["internal"]
    return voip_vault_plan.provisioner(settings, address)


def publish_root():
    """Make the Vault's root CA the one that this machine trusts. Returns False when it is."""
    settings, _ = _settings()
    pem = authority(settings["pki_root_mount"])
    if (__salt__["voip_pki.trusted"]() or "").strip() == pem.strip():
        return False
    return __salt__["voip_pki.trust"](pem)


def is_root_published():
    """Tell whether this machine trusts the Vault's root CA."""
    settings, _ = _settings()
    pem = authority(settings["pki_root_mount"]) or ""
    if settings["external"] and pem.strip() != (__salt__["voip_pki.trusted"]() or "").strip():
        raise CommandExecutionError(
            f"the root CA of the existing Vault ({settings['pki_root_mount']}/cert/ca) is not the "
            "one that pillar gives: put it into .voip/ca.crt on the control host"
        )
    return bool(pem) and (__salt__["voip_pki.trusted"]() or "").strip() == pem.strip()


def missing_secrets():
    """Return {kv path: [key, ...]} of the generated secrets that do not exist, values unseen."""
    found = {}
    for path, username in voip_vault_plan.secrets(__pillar__["voip"]["provisioning"]).items():
        current = read(path)
        lacking = [key for key in ("password", "username") if not current.get(key)]
        # Where the server knows users, a rotation moves the host from one name to another.
        if not lacking and current["username"] not in voip_credentials.names(username):
            lacking = ["username"]
        if lacking:
            found[path] = lacking
    return found


def make_secrets():
    """Make the generated secrets that are missing. Returns their paths."""
    wanted = voip_vault_plan.secrets(__pillar__["voip"]["provisioning"])
    made = sorted(missing_secrets())
    for path in made:
        __salt__["voip_vault.ensure"](
            path, ["password"], fixed={"username": wanted[path]}, identity="provision"
        )
    return made


def read(path, **kwargs):
    """Return any host's KV secret, {} where there is none: servers need their clients' passwords.

    Policy: `provision`. Refuses to run as a job, as voip_vault.read does.
    """
    return _or_nothing(lambda: __salt__["voip_vault.read"](path, identity="provision", **kwargs))


def describe_authority(mount):
    """Return {"names", "issuer", "serial", "not_after", "life_s"} of the mount's CA certificate."""
    return voip_x509.describe(authority(mount))


def _differing_objects():
    """{path: (difference, wanted)}, in the order in which the plan has them."""
    voip = __pillar__["voip"]
    wanted = voip_vault_plan.objects(
        voip["vault"], voip["pki"], voip["provisioning"], voip["peers"]["control"][0]
    )
    found = {}
    for path, values in wanted.items():
        current = _or_nothing(lambda path=path: _vault().read(path))
        if difference := voip_vault_plan.difference(current, values):
            found[path] = (difference, values)
    return found


def _or_nothing(ask):
    """What ask() returns; {} where there is nothing, or, with test=True, no permission yet."""
    try:
        return ask()
    except NotFound:
        return {}
    except Denied:
        if __opts__["test"]:
            return {}
        raise


def _engine(current, wanted):
    """What is mounted, in the form of the plan, so that both can be compared."""
    if current is None:
        return None
    form = {"type": current["type"]}
    if "options" in wanted:
        form["options"] = current["options"]
    if "max_lease_ttl_s" in wanted:
        form["max_lease_ttl_s"] = current["config"]["max_lease_ttl"]
    return form


def _await_kv(mount):
    """A new KV v2 engine refuses requests until it has made its metadata: a moment."""
    deadline = time.monotonic() + UPGRADE_TIMEOUT_S
    while True:
        try:
            _vault().read(f"{mount}/config")
            return
        except Refused:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _settings():
    return __pillar__["voip"]["vault"], __pillar__["voip"]["pki"]


def _vault():
    return __salt__["voip_vault.session"]("provision")
