"""Certificates of this machine's components: look at them, have them signed, install them.

Layout: <name>.crt (leaf and intermediate) and <name>.key are links into <name>.d, itself a link to
the generation in use: replacing that one link swaps certificate and key together.
"""

import grp
import os
import pathlib
import shutil

import voip_errors
import voip_files
import voip_x509
from salt.exceptions import CommandExecutionError

__virtualname__ = "voip_pki"


def __virtual__():
    return __virtualname__


def directory():
    """Return where this machine's certificates, keys and the root CA are."""
    return f"{__opts__.get('voip_stack_dir', '/etc/voip-stack')}/tls"


def settings(name):
    """Return what pillar says about the certificate of component `name`, a dict.

    Raises CommandExecutionError when this host has no such component.
    """
    try:
        return __pillar__["voip"]["certificates"][name]
    except KeyError:
        raise CommandExecutionError(
            f"pillar gives this host no certificate for {name}: see pillar/components/"
            "certificates.yaml and the roles in pillar/topology.yaml"
        ) from None


def shortcoming(name, wanted=None):
    """Return why the certificate of component `name` must be made anew, None when it is good.

    Only local files are read: no call to the Vault.
    """
    wanted = wanted or settings(name)
    try:
        chain, key = _text(f"{name}.crt"), _text(f"{name}.key")
    except FileNotFoundError:
        return "there is none yet"
    return voip_x509.shortcoming(chain, key, ca_pem(), wanted)


def permission_drift(name, wanted=None):
    """Return {"group": {...}, "mode": {...}} where the key's owner or mode is not as wanted."""
    wanted = wanted or settings(name)
    status = os.stat(os.path.join(directory(), f"{name}.key"))
    group_id = _group_id(wanted["group"])
    drift = {}
    if status.st_gid != group_id:
        drift["group"] = {"old": str(status.st_gid), "new": str(group_id)}
    if f"{status.st_mode & 0o7777:04o}" != wanted["mode"]:
        drift["mode"] = {"old": f"{status.st_mode & 0o7777:04o}", "new": wanted["mode"]}
    return drift


def fix_permissions(name, wanted=None):
    """Give the key of component `name` its group and mode. Returns True."""
    wanted = wanted or settings(name)
    path = os.path.join(directory(), f"{name}.key")
    os.chown(path, 0, _group_id(wanted["group"]))
    os.chmod(path, int(wanted["mode"], 8))
    return True


def renew(name, wanted=None):
    """Make a key, have its certificate signed by the intermediate CA, install both.

    Returns {"names", "issuer", "serial", "not_after", "life_s"}; the key never leaves the machine.
    Policy: `update` on <pki_mount>/sign/<host>.
    """
    wanted = wanted or settings(name)
    key, key_pem = voip_x509.new_key()
    csr = voip_x509.request(key, wanted["common_name"], wanted["alt_names"], wanted["ip_sans"])
    signed = __salt__["voip_vault.sign"](
        csr, wanted["common_name"], wanted["alt_names"], wanted["ip_sans"], wanted["ttl_s"]
    )
    root = ca_pem().strip()
    issuers = [pem for pem in signed["chain"] if pem.strip() != root]
    chain = "\n".join(pem.strip() for pem in [signed["certificate"], *issuers]) + "\n"
    if problem := voip_x509.shortcoming(chain, key_pem, ca_pem(), wanted):
        raise CommandExecutionError(f"what the Vault signed for {name} is not usable: {problem}")
    install(name, chain, key_pem, wanted["group"], wanted["mode"])
    return voip_x509.describe(chain)


def install(name, chain, key_pem, group, mode):
    """Put a certificate and its key in place at once. Returns True."""
    group_id = _group_id(group)
    link = os.path.join(directory(), f"{name}.d")
    generation = os.path.join(directory(), f".{name}.{voip_x509.describe(chain)['serial']}")
    voip_files.write(f"{generation}/key.pem", key_pem, int(mode, 8), group_id)
    voip_files.write(f"{generation}/cert.pem", chain, 0o644)
    _point(link, os.path.basename(generation))
    _point(os.path.join(directory(), f"{name}.crt"), f"{name}.d/cert.pem")
    _point(os.path.join(directory(), f"{name}.key"), f"{name}.d/key.pem")
    for old in pathlib.Path(directory()).glob(f".{name}.*"):
        if old.name != os.path.basename(generation) and old.is_dir():
            shutil.rmtree(old)
    return True


def ca_pem():
    """Return the root CA that this machine trusts.

    Raises Unavailable when it has none yet.
    """
    try:
        return _text("ca.crt")
    except FileNotFoundError:
        raise voip_errors.Unavailable(
            f"the root CA is not known here ({directory()}/ca.crt): apply devstack first, so that "
            "the platform has a PKI"
        ) from None


def trusted():
    """Return the PEM of the root CA in place, None when there is none."""
    try:
        return ca_pem()
    except voip_errors.Unavailable:
        return None


def trust(pem):
    """Make `pem` the root CA that this machine trusts. Raises when it is no CA. Returns True."""
    if problem := voip_x509.problem_of_root(pem):
        raise CommandExecutionError(f"refused as the root CA: {problem}")
    voip_files.write(os.path.join(directory(), "ca.crt"), pem.strip() + "\n", 0o644)
    return True


def _text(name):
    return pathlib.Path(directory(), name).read_text(encoding="utf-8")


def _group_id(group):
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise CommandExecutionError(
            f"group {group} does not exist: require the package that makes it"
        ) from None


def _point(link, target):
    """Make `link` a symbolic link to `target`, atomically."""
    temporary = f"{link}.new"
    if os.path.lexists(temporary):
        os.unlink(temporary)
    os.symlink(target, temporary)
    os.replace(temporary, link)
