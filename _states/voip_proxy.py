"""Converge a proxy's configuration: what needs a restart, and what the running proxy reads again.

component: whose execution module knows the files, `kamailio` or `opensips`.

Neither holds a secret: `changes` shows the difference of each file.
"""

import voip_proxy
from salt.exceptions import CommandExecutionError

__virtualname__ = "voip_proxy"


def __virtual__():
    if "voip_config.check" not in __salt__:
        return False, "the voip_config execution module is not loaded"
    return __virtualname__


def configured(name, component, source):
    """Make directory `name` the routing of `source` with the pillar's values, all of it or nothing.

    The proxy's own parser tries the directory as it would be; when it refuses,
    nothing is replaced and the proxy runs on. Watch this state to restart: routing is read at the
    start only.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "The routing is as declared"}
    owner = _owner(component)
    try:
        wanted = __salt__[f"{component}.routing_files"](source, __pillar__["voip"], saltenv=__env__)
        ret["changes"] = _changes(name, wanted, owner)
        if not ret["changes"]:
            return ret
        if __opts__["test"]:
            return ret | {"result": None, "comment": "The routing would be replaced"}
        __salt__["voip_config.check"](name, wanted, f"{component}.check_config", **owner)
        __salt__["voip_config.install"](name, wanted, **owner)
    except CommandExecutionError as err:
        return ret | {"result": False, "changes": {}, "comment": str(err)}
    return ret | {"comment": "The routing was checked and replaced"}


def tables(name, component):
    """Make the tables in directory `name` what the pillar says: TLS settings, PBXs, relays, peers.

    A running proxy reads them again; nothing is restarted and no call or connection is touched.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "The tables are as declared"}
    owner = _owner(component)
    try:
        wanted = __salt__[f"{component}.tables"](__pillar__["voip"])
        ret["changes"] = _changes(name, wanted, owner)
        if not ret["changes"]:
            return ret
        if __opts__["test"]:
            return ret | {"result": None, "comment": "The tables would be replaced"}
        __salt__["voip_config.install"](name, wanted, **owner)
        if not __salt__["service.status"](component):
            return ret | {"comment": "The tables were replaced, for the proxy's next start"}
        called = __salt__[f"{component}.reload_tables"](list(ret["changes"]))
    except CommandExecutionError as err:
        return ret | {"result": False, "changes": {}, "comment": str(err)}
    return ret | {"comment": f"The tables were replaced and read again ({', '.join(called)})"}


def _owner(component):
    """Who owns the files, and may read them: the daemon's group has the component's name."""
    return {"user": "root", "group": component}


def _changes(name, wanted, owner):
    """What differs, by file: a diff, or the owner or mode that is wrong."""
    drift = __salt__["voip_config.changes"](name, wanted, **owner)
    if not drift:
        return {}
    current = voip_proxy.current_files(name, list(drift))
    diffs = voip_proxy.changed_files(current, {file: wanted[file] for file in drift})
    return {file: diffs.get(file, what) for file, what in drift.items()}
