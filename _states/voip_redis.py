"""Redis' ACL users and certificate."""

from salt.exceptions import CommandExecutionError

__virtualname__ = "voip_redis"


def __virtual__():
    if "voip_redis.difference" in __salt__:
        return __virtualname__
    return (False, "the voip_redis execution module is missing (redis is needed)")


def users(name, users):
    """The ACL file `name` has exactly these users, with the Vault's passwords, and is loaded.

    users: {host: {"keys", "channels", "commands"}}.
    """
    return _converge(
        name,
        lambda: __salt__["voip_redis.difference"](users, name),
        lambda: __salt__["voip_redis.write"](users, name),
    )


def remote_users(name, users):
    """An existing server has these users, with the Vault's passwords. name: only a label."""
    return _converge(
        name,
        lambda: __salt__["voip_redis.remote_difference"](users),
        lambda: __salt__["voip_redis.set_remote"](users),
    )


def _converge(name, check, act):
    ret = {"name": name, "result": True, "changes": {}, "comment": "as wanted"}
    try:
        ret["changes"] = check()
        if not ret["changes"]:
            return ret
        if __opts__["test"]:
            return ret | {"result": None, "comment": f"{len(ret['changes'])} would be set"}
        act()
    except CommandExecutionError as err:
        return ret | {"result": False, "changes": {}, "comment": str(err)}
    return ret | {"comment": f"{len(ret['changes'])} set"}
