"""Converge all subscribers as one set; never one state for each."""

from salt.exceptions import CommandExecutionError

__virtualname__ = "subscribers"


def __virtual__():
    if "subscribers.converge" not in __salt__:
        return False, "the subscribers execution module is not loaded"
    return __virtualname__


def managed(name, owns=False):
    """The subscribers of realm `name` are those of the pillar, in database and Vault.

    They come from pillar['voip']['subscribers'] and not by an argument: a hundred thousand of them
    would be rendered, parsed and logged with the state.
    owns: bool, the table is this state's alone: rows that others made are removed. Without, they
    are left and reported, in the comment.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    try:
        declared = f"{__salt__['subscribers.count']()} subscribers are as declared"
        others, sample = __salt__["subscribers.foreign"](name)
        is_owner = owns and others
        ret["comment"] = declared if owns else _with_others(declared, others, sample)
        if not is_owner and __salt__["subscribers.is_current"](name):
            return ret
        changes, statements = __salt__["subscribers.converge"](
            name, owns=owns, test=__opts__["test"]
        )
    except CommandExecutionError as err:
        return ret | {"result": False, "changes": {}, "comment": str(err)}
    if not changes:
        return ret
    ret["changes"] = changes
    if __opts__["test"]:
        return ret | {"result": None, "comment": "Subscribers would be changed"}
    return ret | {"comment": f"{ret['comment']} now ({statements} statements)"}


def _with_others(text, number, sample):
    if not number:
        return text
    more = ", ..." if number > len(sample) else ""
    return (
        f"{text}; {number} rows that others made are left: {', '.join(sample)}{more}"
        " (declare them in pillar/subscribers/, or set kamailio:owns_subscribers to remove them)"
    )
