"""OpenBao on its own machine, from nothing to unsealed and provisionable."""

from salt.exceptions import CommandExecutionError

__virtualname__ = "openbao"


def __virtual__():
    if "openbao.status" in __salt__:
        return __virtualname__
    return (False, "the openbao execution module is missing")


def installed(name):
    """The `bao` binary of the minion's environment is in place. name: only a label."""
    return _converge(
        name,
        check=lambda: [] if __salt__["openbao.is_installed"]() else ["bao"],
        act=lambda: __salt__["openbao.install"](),
        words=("the server is installed", "the server would be installed"),
    )


def listening(name):
    """The listener has a certificate: a self-signed one until the PKI can sign one."""
    return _converge(
        name,
        check=lambda: [] if __salt__["openbao.has_certificate"]() else ["self-signed certificate"],
        act=lambda: __salt__["openbao.make_bootstrap_certificate"](),
        words=("the listener has a certificate", "a self-signed certificate would be made"),
    )


def initialized(name):
    """The server is initialised and its unseal key is kept here, root-only."""
    return _converge(
        name,
        check=lambda: [] if __salt__["openbao.status"]()["initialized"] else ["storage"],
        act=lambda: __salt__["openbao.initialise"](),
        words=("initialised", "would be initialised"),
        absent=["storage"],
    )


def unsealed(name):
    """The server is unsealed."""
    return _converge(
        name,
        check=lambda: ["seal"] if __salt__["openbao.status"]()["sealed"] else [],
        act=lambda: __salt__["openbao.unseal"](),
        words=("unsealed", "would be unsealed"),
        absent=["seal"],
    )


def provisionable(name):
    """An identity that may provision exists, and the root token is revoked."""
    return _converge(
        name,
        check=lambda: __salt__["openbao.provisioner_drift"](),
        act=lambda: __salt__["openbao.make_provisioner"](),
        words=(
            "the provisioning identity works, no root token is left",
            "the provisioning identity would be made",
        ),
        absent=["identity"],
    )


def _converge(name, check, act, words, absent=None):
    """The three beats. check: returns what is missing. absent: what is, where nothing runs yet."""
    ret = {"name": name, "result": True, "changes": {}, "comment": words[0]}
    try:
        if absent and __opts__["test"] and __salt__["openbao.is_new"]():
            missing = absent
        else:
            missing = check()
        if not missing:
            return ret
        ret["changes"] = {item: {"old": None, "new": "made"} for item in missing}
        if __opts__["test"]:
            return ret | {"result": None, "comment": words[1]}
        act()
    except CommandExecutionError as err:
        return ret | {"result": False, "changes": {}, "comment": str(err)}
    return ret
