"""Converge the host's nftables rules: on disk for the next boot, and loaded now."""

import voip_nft
from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "voip_firewall"


def __virtual__():
    if "voip_firewall.ruleset" not in __salt__:
        return False, "the voip_firewall execution module is not loaded"
    return __virtualname__


def managed(
    name,
    rules,
    addresses,
    networks,
    masters=(),
    master_ports=(),
    egress=None,
    shared=None,
    connections=None,
):
    """Make table `inet voip` exactly what is declared.

    name: path of the rules file, loaded at boot by nftables.service.
    The others: see `voip_nft.ruleset`.

    Rules that somebody changed by hand, in the file or in the kernel, are put back. Rules that nft
    refuses are not loaded; rules that would cut the master are taken back.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "The rules are as declared"}
    try:
        text = __salt__["voip_firewall.ruleset"](
            rules=rules,
            addresses=addresses,
            networks=networks,
            masters=masters,
            master_ports=master_ports,
            egress=egress,
            shared=shared,
            connections=connections,
        )
        wanted = __salt__["voip_firewall.expected"](text)
        ret["changes"] = _changes(name, text, wanted)
        if not ret["changes"]:
            return ret
        if __opts__["test"]:
            return ret | {"result": None, "comment": "The rules would be replaced"}
        if "live" in ret["changes"]:
            ends = [(address, max(master_ports)) for address in masters]
            __salt__["voip_firewall.swap"](text, must_reach=ends)
        if "file" in ret["changes"]:
            __salt__["voip_firewall.write"](name, text)
        left = _changes(name, text, wanted)
    except (CommandExecutionError, SaltInvocationError) as err:
        return ret | {"result": False, "changes": {}, "comment": str(err)}
    if left:
        return ret | {"result": False, "comment": "The rules differ even after they were loaded"}
    return ret | {"comment": "The rules were replaced"}


def _changes(path, text, wanted):
    live = __salt__["voip_firewall.live"]()
    return voip_nft.changes(live, wanted, __salt__["voip_firewall.saved"](path), text)
