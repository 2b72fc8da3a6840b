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
    ret = {"name": name, "result": True, "changes": {}, "comment": "as wanted"}
    try:
        ret["changes"] = __salt__["voip_redis.difference"](users, name)
        if not ret["changes"]:
            return ret
        if __opts__["test"]:
            return ret | {"result": None, "comment": f"{len(ret['changes'])} would be set"}
        __salt__["voip_redis.write"](users, name)
    except CommandExecutionError as err:
        return ret | {"result": False, "changes": {}, "comment": str(err)}
    return ret | {"comment": f"{len(ret['changes'])} set"}
