"""Converge the proxy's configuration: what needs a restart, and what the running proxy reads again.

Neither holds a secret: `changes` shows the difference of each file.
"""

import voip_kamailio
from salt.exceptions import CommandExecutionError

__virtualname__ = "kamailio"


def __virtual__():
    if "kamailio.rpc" not in __salt__:
        return False, "the kamailio execution module is not loaded"
    return __virtualname__


def configured(name, source):
    """Make directory `name` the routing of `source` with the pillar's values, all of it or nothing.

    The proxy's own parser (`kamailio -c`) tries the directory as it would be; when it refuses,
    nothing is replaced and the proxy runs on. Watch this state to restart: routing is read at the
    start only.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "The routing is as declared"}
    try:
        wanted = __salt__["kamailio.routing_files"](source, __pillar__["voip"], saltenv=__env__)
        ret["changes"] = _changes(name, wanted)
        if not ret["changes"]:
            return ret
        if __opts__["test"]:
            return ret | {"result": None, "comment": "The routing would be replaced"}
        __salt__["voip_config.check"](name, wanted, "kamailio.check_config", **voip_kamailio.OWNER)
        __salt__["voip_config.install"](name, wanted, **voip_kamailio.OWNER)
    except CommandExecutionError as err:
        return ret | {"result": False, "changes": {}, "comment": str(err)}
    return ret | {"comment": "The routing was checked and replaced"}


def tables(name):
    """Make tls.cfg, dispatcher.list and address.list in directory `name` what the pillar says.

    A running proxy reads them again; nothing is restarted and no call or connection is touched.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "The tables are as declared"}
    try:
        wanted = __salt__["kamailio.tables"](__pillar__["voip"])
        ret["changes"] = _changes(name, wanted)
        if not ret["changes"]:
            return ret
        if __opts__["test"]:
            return ret | {"result": None, "comment": "The tables would be replaced"}
        __salt__["voip_config.install"](name, wanted, **voip_kamailio.OWNER)
        if not __salt__["service.status"]("kamailio"):
            return ret | {"comment": "The tables were replaced, for the proxy's next start"}
        called = __salt__["kamailio.reload_tables"](list(ret["changes"]))
    except CommandExecutionError as err:
        return ret | {"result": False, "changes": {}, "comment": str(err)}
    return ret | {"comment": f"The tables were replaced and read again ({', '.join(called)})"}


def _changes(name, wanted):
    """What differs, by file: a diff, or the owner or mode that is wrong."""
    drift = __salt__["voip_config.changes"](name, wanted, **voip_kamailio.OWNER)
    if not drift:
        return {}
    current = __salt__["kamailio.current_files"](name, list(drift))
    diffs = voip_kamailio.changed_files(current, {file: wanted[file] for file in drift})
    return {file: diffs.get(file, what) for file, what in drift.items()}
