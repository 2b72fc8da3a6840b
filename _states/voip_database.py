"""Databases, their owners and logins, and their schemas."""

from salt.exceptions import CommandExecutionError

__virtualname__ = "voip_database"


def __virtual__():
    if "voip_postgresql.difference" in __salt__:
        return __virtualname__
    return (False, "the voip_postgresql execution module is missing (psycopg is needed)")


def present(name, databases):
    """Every database exists, with its owner and the logins of the hosts that use it.

    databases: {owner: [login, ...]}. Passwords are the Vault's; only verifiers reach the server.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "as wanted"}
    try:
        ret["changes"] = __salt__["voip_postgresql.difference"](databases)
        if not ret["changes"]:
            return ret
        if __opts__["test"]:
            return ret | {"result": None, "comment": f"{len(ret['changes'])} would be made"}
        __salt__["voip_postgresql.converge"](databases)
    except CommandExecutionError as err:
        return ret | {"result": False, "changes": {}, "comment": str(err)}
    return ret | {"comment": f"{len(ret['changes'])} made"}


def schema(name, source):
    """Every SQL file of `source` (a salt:// directory) was applied to database `name`, in order.

    Applied once, as the owner, each in one transaction; voip_schema in the database records it.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "as wanted"}
    try:
        files = __salt__["voip_postgresql.schema_files"](source, __env__)
        if not files:
            raise CommandExecutionError(f"{source} has no SQL file")
        ret["changes"] = __salt__["voip_postgresql.schema_difference"](name, files)
        if not ret["changes"]:
            return ret
        if __opts__["test"]:
            return ret | {"result": None, "comment": f"{len(ret['changes'])} would be applied"}
        wanted = {file: files[file] for file in ret["changes"]}
        __salt__["voip_postgresql.apply_schema"](name, wanted)
    except CommandExecutionError as err:
        return ret | {"result": False, "changes": {}, "comment": str(err)}
    return ret | {"comment": f"{len(ret['changes'])} applied"}
