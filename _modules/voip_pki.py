"""Certificates of this machine's components: look at them, have them signed, put them in use.

A new pair is in use for good when its daemon has shown it in a handshake (voip_tls); until then the
former one is kept, and comes back when the daemon does not show the new one. Layout on disk:
voip_generations.
"""

import grp
import os
import pathlib

import voip_errors
import voip_files
import voip_generations
import voip_handshake
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


def renew(name, wanted=None, due_only=False):
    """Make a key, have its certificate signed, put both in use and prove that the daemon does so.

    Returns {"names", "issuer", "serial", "not_after", "life_s", "proof_s", "reason"}; the key never
    leaves the machine. proof_s: seconds from the reload to the proof, None when no daemon runs yet.
    reason: as `shortcoming`, of the pair before. due_only: None, and nothing is done, where there
    is no such reason: of two who ask at the same time, one renews.
    Policy: `update` on <pki_mount>/sign/<host>.
    Raises CommandExecutionError; the pair that was in use before is then in use again. Raises
    Unavailable where the Vault cannot sign now; nothing was changed then.
    """
    wanted = wanted or settings(name)
    with voip_generations.locked(directory(), name):
        reason = shortcoming(name, wanted)
        if due_only and not reason:
            return None
        key, key_pem = voip_x509.new_key()
        csr = voip_x509.request(key, wanted["common_name"], wanted["alt_names"], wanted["ip_sans"])
        signed = __salt__["voip_vault.sign"](
            csr, wanted["common_name"], wanted["alt_names"], wanted["ip_sans"], wanted["ttl_s"]
        )
        root = ca_pem().strip()
        issuers = [pem for pem in signed["chain"] if pem.strip() != root]
        chain = "\n".join(pem.strip() for pem in [signed["certificate"], *issuers]) + "\n"
        if problem := voip_x509.shortcoming(chain, key_pem, ca_pem(), wanted):
            raise CommandExecutionError(f"what the Vault signed for {name} is of no use: {problem}")
        install(name, chain, key_pem, wanted["group"], wanted["mode"])
        proof_s = _settle(name, wanted)
    return voip_x509.describe(chain) | {"proof_s": proof_s, "reason": reason}


def install(name, chain, key_pem, group, mode):
    """Put a certificate and its key in use at once; the former pair is kept. Returns True."""
    generation = voip_generations.put(
        directory(),
        name,
        voip_x509.describe(chain)["serial"],
        chain,
        key_pem,
        int(mode, 8),
        _group_id(group),
    )
    voip_generations.use(directory(), name, generation)
    return True


def is_unproven(name, wanted=None):
    """Tell whether a former pair is still kept although the daemon runs: an interrupted renewal.

    Looks at one directory; only when one is kept it asks the daemon for a handshake.
    """
    kept = voip_generations.others(directory(), name)
    return bool(kept) and __salt__["voip_tls.is_up"](name, wanted or settings(name))


def prove(name, wanted=None):
    """Do what an interrupted renewal left undone: have the daemon show its pair. Returns seconds.

    Raises CommandExecutionError; the former pair is then in use again.
    """
    wanted = wanted or settings(name)
    with voip_generations.locked(directory(), name):
        return _settle(name, wanted)


def _settle(name, wanted):
    """Prove the pair in use, then drop the former ones; or go back to the newest of them."""
    kept = voip_generations.others(directory(), name)
    voip_generations.drop(directory(), kept[1:])
    if not kept or not __salt__["voip_tls.is_up"](name, wanted):
        return None  # the daemon reads it when it starts, and the next run asks it
    try:
        proof_s = __salt__["voip_tls.prove"](name, fingerprint(name), wanted)
    except CommandExecutionError as err:
        raise CommandExecutionError(f"{name}: {_go_back(name, wanted, kept, err)}") from err
    voip_generations.drop(directory(), kept[:1])
    return proof_s


def _go_back(name, wanted, kept, reason):
    """Put the newest former pair in use again; returns what to tell."""
    refused = voip_generations.current(directory(), name)
    voip_generations.use(directory(), name, kept[0])
    voip_generations.drop(directory(), [refused])
    until = voip_x509.describe(_text(f"{name}.crt"))["not_after"]
    told = f"the new certificate was {reason}; the former one, good until {until}, is in use again"
    try:
        __salt__["voip_tls.prove"](name, fingerprint(name), wanted)
    except CommandExecutionError as err:
        told += f", but {err}"
    listeners = ", ".join(f"{address}:{port}" for address, port in wanted["listeners"])
    return (
        f"{told}. See the daemon's journal for why {wanted['reload']} has no effect on {listeners},"
        f" then apply this state again: it tries anew"
    )


def inventory():
    """Return what is known here of each certificate of this host, by component, sorted.

    [{"component", "serial", "issuer", "authority", "not_after", "life_s", "unproven"}]; of one that
    is not there, component and "problem". Nothing that is secret.
    """
    found = []
    for name in sorted(__pillar__["voip"]["certificates"]):
        entry = {"component": name}
        try:
            about = voip_x509.describe(_text(f"{name}.crt"))
        except (FileNotFoundError, ValueError):
            found.append(entry | {"problem": "there is none that can be read"})
            continue
        found.append(
            entry
            | {key: about[key] for key in ("serial", "issuer", "authority", "not_after", "life_s")}
            | {"unproven": is_unproven(name)}
        )
    return found


def fingerprint(name):
    """Return the SHA-256 fingerprint, in hex, of the certificate in place of component `name`."""
    return voip_handshake.fingerprint(_text(f"{name}.crt"))


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
