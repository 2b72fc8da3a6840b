"""Converge all subscribers as one set; never one state for each."""

from salt.exceptions import CommandExecutionError

__virtualname__ = "subscribers"


def __virtual__():
    if "subscribers.converge" not in __salt__:
        return False, "the subscribers execution module is not loaded"
    return __virtualname__


def managed(name):
    """The subscribers of realm `name` are those of the pillar, in database and Vault.

    The numbers come from pillar['voip']['subscribers'] and not by an argument: a hundred thousand
    of them would be rendered, parsed and logged with the state.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    try:
        wanted = __salt__["subscribers.numbers"]()
        ret["comment"] = f"{len(wanted)} subscribers are as declared"
        if __salt__["subscribers.is_current"](name, wanted):
            return ret
        ret["changes"] = __salt__["subscribers.converge"](name, wanted, test=__opts__["test"])
    except CommandExecutionError as err:
        return ret | {"result": False, "changes": {}, "comment": str(err)}
    if not ret["changes"]:
        return ret
    if __opts__["test"]:
        return ret | {"result": None, "comment": "Subscribers would be changed"}
    return ret | {"comment": f"{len(wanted)} subscribers are as declared now"}
