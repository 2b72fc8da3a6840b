"""Keep the Vault as the platform needs it, and this machine enrolled in it.

Each state converges a whole set, with one read per object: engines, identities (policies, AppRoles,
PKI roles), certificate authorities, generated secrets. No change ever shows a secret.
"""

import voip_beats

__virtualname__ = "voip_vault"


def __virtual__():
    if "voip_vault_admin.engine_difference" in __salt__:
        return __virtualname__
    return (False, "the voip_vault_admin execution module is missing")


def engines(name):
    """The secret engines of the platform are enabled. name: only a label."""

    def act(changes):
        for mount, change in changes.items():
            __salt__["voip_vault_admin.make_engine"](mount, change["old"], change["new"])

    return _converge(name, lambda: __salt__["voip_vault_admin.engine_difference"](), act)


def identities(name):
    """Policies, AppRoles, PKI roles and URLs are as pillar's hosts need them."""
    return _converge(
        name,
        lambda: __salt__["voip_vault_admin.object_difference"](),
        lambda _: __salt__["voip_vault_admin.write_objects"](),
    )


def authorities(name, root_name, intermediate_name):
    """The root CA and the intermediate CA exist, and this machine trusts the root.

    root_name, intermediate_name: their common names, used when they are made.
    """
    makers = {0: ("make_root", root_name), 1: ("make_intermediate", intermediate_name)}

    def check():
        mounts = [__pillar__["voip"]["vault"][key] for key in ("pki_root_mount", "pki_mount")]
        missing = __salt__["voip_vault_admin.missing_authorities"]()
        changes = {
            mount: {"old": None, "new": makers[index][1]}
            for index, mount in enumerate(mounts)
            if mount in missing
        }
        if not __salt__["voip_vault_admin.is_root_published"]():
            changes["trusted root"] = {"old": "another, or none", "new": "the Vault's"}
        return changes

    def act(changes):
        for function, common_name in makers.values():
            if common_name in [change["new"] for change in changes.values()]:
                __salt__[f"voip_vault_admin.{function}"](common_name)
        __salt__["voip_vault_admin.publish_root"]()

    return _converge(name, check, act)


def generated(name):
    """Each host's generated secrets exist (pillar vault.yaml: secrets)."""
    return _converge(
        name,
        lambda: {
            path: {"old": None, "new": f"made: {', '.join(keys)}"}
            for path, keys in __salt__["voip_vault_admin.missing_secrets"]().items()
        },
        lambda _: __salt__["voip_vault_admin.make_secrets"](),
    )


def retired(name):
    """Nothing is left of hosts that pillar does not declare: AppRole, policy, PKI role, tokens,
    certificates, secrets. name: only a label.

    Their KV secrets are deleted with every version (docs/identity.md).
    """

    def act(changes):
        for host in changes:
            __salt__["voip_vault_identity.revoke"](host)

    return voip_beats.converge(
        name,
        __opts__["test"],
        lambda: {
            host: {"old": paths, "new": None}
            for host, paths in __salt__["voip_vault_identity.undeclared"]().items()
        },
        act,
        done="revoked",
    )


def enrolled(name):
    """The machine that provisions is enrolled as itself; others are by voip_vault.enrol's runner.

    name: the host's name. An identity that nears its end is replaced, as everybody's.
    """

    def check():
        if __salt__["voip_vault.is_enrolled"]():
            return {}
        return {"identity": {"old": None, "new": name}}

    def act(_):
        issued = __salt__["voip_vault_identity.issue"](name)
        accessor = __salt__["voip_vault.enrol"](issued["role_id"], issued["wrap_token"])
        __salt__["voip_vault_identity.retire"](name, accessor)

    return _converge(name, check, act)


def _converge(name, check, act):
    return voip_beats.converge(name, __opts__["test"], check, act, done="made")
