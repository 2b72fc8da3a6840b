"""The three beats of a state that converges one whole set: already so, would be, is now."""

from salt.exceptions import CommandExecutionError


def converge(name, is_test, check, act, done):
    """Return a state's result. No dunders: the caller hands over what it has of them.

    is_test: bool, of `__opts__["test"]`. check: () -> changes, empty when there is nothing to do.
    act: takes those changes; both raise CommandExecutionError. done: what happens to them ("made").
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "as wanted"}
    try:
        ret["changes"] = check()
        if not ret["changes"]:
            return ret
        if is_test:
            return ret | {"result": None, "comment": f"{len(ret['changes'])} would be {done}"}
        act(ret["changes"])
    except CommandExecutionError as err:
        return ret | {"result": False, "changes": {}, "comment": str(err)}
    return ret | {"comment": f"{len(ret['changes'])} {done}"}
