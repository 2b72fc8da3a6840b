"""Keep each component's certificate valid, and the root CA in place.

Usage, everything else is in pillar:

    Give Kamailio its certificate:
      voip_certificate.managed:
        - name: kamailio
        - require: [{voip_package: Install Kamailio}]   # it makes the group

Where its daemon checks its peers, voip_certificate.revocations (name: the same) keeps the lists.

Nothing has to watch it: a daemon that runs is reloaded by this state, which fails, with the former
certificate in use again, unless the daemon then shows the new one.
"""

from salt.exceptions import CommandExecutionError

__virtualname__ = "voip_certificate"


def __virtual__():
    if "voip_pki.renew" in __salt__:
        return __virtualname__
    return (False, "the voip_pki execution module is missing")


def managed(name):
    """The certificate of component `name` is good for a while, its key readable by its group.

    Local only when nothing is to do; otherwise one signing request to the Vault, the daemon's own
    reload, and a handshake that shows the new certificate.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": f"{name}: certificate is good"}
    try:
        reason = __salt__["voip_pki.shortcoming"](name)
        unproven = not reason and __salt__["voip_pki.is_unproven"](name)
        if reason:
            ret["changes"] = {"certificate": {"old": reason, "new": "signed by the platform's PKI"}}
        elif unproven:
            ret["changes"] = {"proof": {"old": "not shown by its daemon yet", "new": "shown"}}
        else:
            ret["changes"] = __salt__["voip_pki.permission_drift"](name)
        if not ret["changes"]:
            return ret
        if __opts__["test"]:
            would = "renewed" if reason else "mended"
            return ret | {"result": None, "comment": f"{name}: certificate would be {would}"}
        if reason:
            made = __salt__["voip_pki.renew"](name, due_only=True)
            return ret | {"comment": _told(name, made)}
        if unproven:
            __salt__["voip_pki.prove"](name)
            return ret | {"comment": f"{name}: its daemon shows the certificate"}
        __salt__["voip_pki.fix_permissions"](name)
    except CommandExecutionError as err:
        return ret | {"result": False, "changes": {}, "comment": str(err)}
    return ret | {"comment": f"{name}: key's owner and mode set"}


def _told(name, made):
    if made is None:
        return f"{name}: renewed by the master's order at this very moment"
    if made.get("proof_s") is None:
        return f"{name}: certificate good until {made['not_after']}; no daemon to show it yet"
    return f"{name}: good until {made['not_after']}, shown {made['proof_s']} s after the reload"


def revocations(name):
    """The revocation lists by which component `name` checks its peers are the Vault's newest.

    A Vault that does not answer leaves the lists in place, which is told; this fails only where
    none of them can be used. Nobody needs to require it: a daemon is told to check while it can.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": f"{name}: lists are the newest"}
    try:
        text = __salt__["voip_crl.fetch"]()
        changes = __salt__["voip_crl.difference"](name, text)
    except CommandExecutionError as err:
        if __opts__["test"] and not __salt__["voip_pki.trusted"]():
            changes = {"lists": {"old": None, "new": "the Vault's"}}  # a new machine
        else:
            return _kept(name, ret, err)
    if not changes:
        return ret
    if __opts__["test"]:
        __salt__["voip_crl.promise"](name)
        return ret | {"result": None, "changes": changes, "comment": f"{name}: would be replaced"}
    try:
        is_read = __salt__["voip_crl.install"](name, text)
    except CommandExecutionError as err:
        return ret | {"result": False, "comment": str(err)}
    told = "read by its daemon" if is_read else "for its daemon's start"
    return ret | {"changes": changes, "comment": f"{name}: lists replaced, {told}"}


def _kept(name, ret, err):
    """What becomes of the lists in place when newer ones could not be had."""
    reason = __salt__["voip_crl.shortcoming"](name)
    if not reason:
        return ret | {"comment": f"{name}: the lists in place stay in use: {err}"}
    return ret | {
        "result": False,
        "comment": f"{name}: revocation is not checked, its lists are of no use ({reason}): {err}",
    }


def authority(name, pem):
    """This machine trusts the root CA `pem`. name: only a label."""
    ret = {"name": name, "result": True, "changes": {}, "comment": "the root CA is in place"}
    try:
        current = __salt__["voip_pki.trusted"]()
        if current and current.strip() == pem.strip():
            return ret
        ret["changes"] = {"ca": {"old": "another" if current else None, "new": "from pillar"}}
        if __opts__["test"]:
            return ret | {"result": None, "comment": "the root CA would be stored"}
        __salt__["voip_pki.trust"](pem)
    except CommandExecutionError as err:
        return ret | {"result": False, "changes": {}, "comment": str(err)}
    return ret | {"comment": "the root CA is stored"}
