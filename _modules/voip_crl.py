"""Keep the revocation lists of components that check certificates: fetch, verify, install, reload.

The Vault gives lists and issuers to everybody, so no identity is needed. A list is taken when its
issuer leads to the root that this machine trusts, its signature is that issuer's, its time is now,
and it is not older than the one in place. The file is <component>.crl beside its certificate.

A daemon refuses *everybody* once a list has ended. So the daemon's configuration names the file
only while it is usable (`usable`): without a valid list a call goes on, unchecked, and it is told.
"""

import os
import pathlib

import voip_files
import voip_generations
import voip_revocation
from salt.exceptions import CommandExecutionError

__virtualname__ = "voip_crl"

# Less of its life than this left in a daemon's list: for days nothing newer could be had.
LOW = 0.5


def __virtual__():
    return __virtualname__


def components():
    """Return the components of this host that check their peers' certificates by a list, sorted."""
    certificates = __pillar__["voip"]["certificates"]
    return sorted(name for name, item in certificates.items() if item["revocation"])


def path(name):
    """Return the file of component `name`'s lists."""
    return f"{__salt__['voip_pki.directory']()}/{name}.crl"


def usable(name):
    """Return the file that the daemon of `name` is to check by; None: it is not to check.

    None where the component does not check at all, too. In test mode, what the state before would
    install counts as there.
    """
    if name not in components():
        return None
    if __opts__.get("test") and __context__.get(f"voip_crl.promised.{name}"):
        return path(name)
    return None if shortcoming(name) else path(name)


def shortcoming(name):
    """Return why the file in place is of no use, None when it is good. Reads one local file."""
    try:
        text = pathlib.Path(path(name)).read_text(encoding="utf-8")
    except FileNotFoundError:
        return "there is none"
    try:
        if not voip_revocation.lists(text):
            return "it holds no list"
    except ValueError:
        return "it cannot be read"
    if voip_revocation.life_left(text) == 0:
        return f"a list in it ended on {voip_revocation.ends(text):%F %T} UTC"
    return None


def fetch():
    """Return the text of the lists of every issuer that can sign, verified.

    Raises Unavailable where the Vault does not answer, CommandExecutionError for a list that is
    not good. An issuer without a key has stopped: what it signed is over or revoked.
    """
    settings, root = __pillar__["voip"]["vault"], __salt__["voip_pki.ca_pem"]()
    vault, found = __salt__["voip_vault.connect"](), []
    for mount in (settings["pki_root_mount"], settings["pki_mount"]):
        issuers = vault.call("list", f"{mount}/issuers")["data"]["key_info"]
        for issuer in sorted(item for item, about in issuers.items() if about.get("key_id")):
            pem = vault.read(f"{mount}/issuer/{issuer}/crl")["crl"]
            certificate = vault.read(f"{mount}/issuer/{issuer}/json")["certificate"]
            if reason := voip_revocation.problem(pem, certificate, root):
                raise CommandExecutionError(
                    f"the revocation list of {mount}/issuer/{issuer} is refused: {reason}"
                )
            found.append(pem)
    if not found:
        raise CommandExecutionError(f"no issuer of {settings['pki_mount']} can sign a list")
    return voip_revocation.join(found)


def difference(name, text):
    """Return {issuer: {"old", "new"}} between the file in place and `text`, {} when it is the same.

    Raises CommandExecutionError when `text` has a list that is older than the one in place.
    """
    old = _in_place(name)
    if behind := voip_revocation.older(text, old):
        raise CommandExecutionError(
            f"{name}: the Vault gives an older revocation list than is in place, of "
            f"{', '.join(behind)}: was it restored from a backup? Rotate its lists: "
            "`voip_vault_authority.rotate_lists` on the host that provisions it"
        )
    return voip_revocation.difference(old, text)


def promise(name):
    """In test mode: note that the file would be there, for the states that follow. Returns True."""
    __context__[f"voip_crl.promised.{name}"] = True
    return True


def install(name, text):
    """Put `text` in place and have the daemon read it, when it runs. Returns whether it did."""
    with voip_generations.locked(__salt__["voip_pki.directory"](), name):
        voip_files.write(path(name), text, 0o644)
        return _reload(name)


def refresh():
    """Bring the lists of every component that checks up to date: after a revocation, by schedule.

    Returns {component: {"changed": {...}, "until": ISO 8601, "revoked": how many}}. Raises when the
    lists could not be had; what is in place stays, and a daemon whose list has ended no longer
    checks.

    CLI Example:

    .. code-block:: bash

        salt sip-1 voip_crl.refresh
    """
    done = {}
    try:
        text = fetch() if components() else ""
        for name in components():
            changed = difference(name, text)
            if changed:
                install(name, text)
            else:
                _agree(name)
            done[name] = {
                "changed": changed,
                "until": voip_revocation.ends(text).isoformat(),
                "revoked": len(voip_revocation.revoked(text)),
            }
    except CommandExecutionError:
        for name in components():
            _agree(name)
        raise
    return done


def scheduled():
    """What the minion's schedule runs: `refresh`, quiet while all is well. Returns what is wrong.

    It is told to the master when a daemon checks no longer, or will in less than half of a list's
    life: a Vault that is sealed for a while is nobody's alarm.
    """
    checking = [name for name in components() if _is_certified(name)]
    if not checking:
        return {}
    try:
        refresh()
    except CommandExecutionError as err:
        low = {name: shortcoming(name) or _ends(name) for name in checking if _is_low(name)}
        if low:
            kind = "revocation/stale" if all(map(usable, low)) else "revocation/unchecked"
            told = "; ".join(f"{name}: {why}" for name, why in sorted(low.items()))
            __salt__["voip_event.send"](kind, detail=f"{told} ({err})"[:400])
        return low
    return {}


def state():
    """Return {component: {"until", "revoked", "problem"}} of the files in place, by local files."""
    found = {}
    for name in components():
        reason, text = shortcoming(name), ""
        if reason != "it cannot be read":
            text = _in_place(name)
        ends = voip_revocation.ends(text) if text else None
        found[name] = {
            "until": ends.isoformat() if ends else None,
            "revoked": voip_revocation.revoked(text) if text else [],
            "problem": reason,
        }
    return found


def _agree(name):
    """Have the daemon check, or not, as its file allows now: it may have ended, or be back.

    One whose lists are of no use is told at every look: a run that died may have told it nothing.
    """
    wanted = usable(name)
    told = __salt__[__salt__["voip_pki.settings"](name)["revocation"]]()
    if wanted is None or told != wanted:
        with voip_generations.locked(__salt__["voip_pki.directory"](), name):
            _reload(name)


def _reload(name):
    if not _is_certified(name) or not __salt__["voip_tls.is_up"](name):
        return False  # it reads the file when it starts
    return __salt__["voip_tls.reload"](name)


def _is_certified(name):
    return os.path.exists(f"{__salt__['voip_pki.directory']()}/{name}.crt")


def _is_low(name):
    return bool(shortcoming(name)) or voip_revocation.life_left(_in_place(name)) < LOW


def _ends(name):
    return f"its list ends on {voip_revocation.ends(_in_place(name)):%F %T} UTC"


def _in_place(name):
    """The file's text, "" where there is none or a broken one: anything is newer than that."""
    try:
        text = pathlib.Path(path(name)).read_text(encoding="utf-8")
        voip_revocation.lists(text)
    except (FileNotFoundError, ValueError):
        return ""
    return text
