"""Redis' ACL users and certificate."""

import voip_beats

__virtualname__ = "voip_redis"


def __virtual__():
    if "voip_redis.difference" in __salt__:
        return __virtualname__
    return (False, "the voip_redis execution module is missing (redis is needed)")


def users(name, users, component="redis"):
    """The ACL file `name` has exactly these users, with the Vault's passwords, and is loaded.

    users: {host: {"keys", "channels", "commands"}}. component: whose server it is.
    """
    return voip_beats.converge(
        name,
        __opts__["test"],
        check=lambda: __salt__["voip_redis.difference"](users, name, component),
        act=lambda _: __salt__["voip_redis.write"](users, name, component=component),
        done="set",
    )


def remote_users(name, users):
    """An existing server has these users, with the Vault's passwords. name: only a label."""
    return voip_beats.converge(
        name,
        __opts__["test"],
        check=lambda: __salt__["voip_redis.remote_difference"](users),
        act=lambda _: __salt__["voip_redis.set_remote"](users),
        done="set",
    )
