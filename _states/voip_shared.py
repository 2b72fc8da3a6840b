"""Converge who gets new connections to the shared address."""

import voip_nft
from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "voip_shared"


def __virtual__():
    if "voip_shared.rules" not in __salt__:
        return False, "the voip_shared execution module is not loaded"
    return __virtualname__


def entrance(name):
    """Have new connections to the shared address go to the primary proxy of the pillar.

    name: path of the rules file, loaded at boot by nftables.service. Open connections stay where
    they are. A proxy that cannot take over gets nobody: the state fails, all is as before.
    """
    ret = {"name": name, "result": True, "changes": {}}
    first = __pillar__["voip"]["shared"]["primary"]
    try:
        text = __salt__["voip_shared.rules"]()
        wanted = __salt__["voip_firewall.expected"](text, voip_nft.SHARED_TABLE)
        was = __salt__["voip_shared.primary"]()
        changes = _changes(name, text, wanted)
        if not changes:
            return ret | {"comment": f"New connections go to {first}"}
        if __opts__["test"]:
            comment = f"New connections would go to {first}"
            return ret | {"result": None, "changes": changes, "comment": comment}
        if was not in (None, first):
            __salt__["voip_shared.ready"](first)
        __salt__["voip_firewall.load"](text)
        __salt__["voip_firewall.write"](name, text)
        if _changes(name, text, wanted):
            return ret | {
                "result": False,
                "comment": "The rules differ even after they were loaded",
            }
    except (CommandExecutionError, SaltInvocationError) as err:
        return ret | {"result": False, "comment": str(err)}
    comment = f"New connections go to {first}"
    if was not in (None, first):
        comment += f"; who is registered at {was} stays there until orch.switch_proxy"
    return ret | {"changes": changes, "comment": comment}


def _changes(path, text, wanted):
    live = __salt__["voip_firewall.live"](voip_nft.SHARED_TABLE)
    return voip_nft.changes(live, wanted, __salt__["voip_firewall.saved"](path), text)
