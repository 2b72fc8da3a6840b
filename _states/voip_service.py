"""Keep a unit enabled, running, and started after everything that it read was written."""

from salt.exceptions import CommandExecutionError

__virtualname__ = "voip_service"


def __virtual__():
    if "voip_service.shortcomings" not in __salt__:
        return False, "the voip_service execution module is not loaded"
    return __virtualname__


def running(name, paths=(), reload_paths=(), reload_function=None):
    """Have systemd unit `name` run with what is on disk now.

    paths, reload_paths: see `voip_service.shortcomings`. reload_function: execution module function
    that makes the daemon read reload_paths again; default `systemctl reload`.
    Watch what writes the paths: a run with test=True then tells the restart that would follow.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": f"{name} runs as declared"}
    wrong = {}
    try:
        wrong = __salt__["voip_service.shortcomings"](name, paths, reload_paths)
        if not wrong:
            return ret
        if __opts__["test"]:
            return ret | {"result": None, "changes": wrong, "comment": f"{name} would be changed"}
        __salt__["voip_service.apply"](name, wrong, reload_function)
        left = __salt__["voip_service.shortcomings"](name, paths, reload_paths)
    except CommandExecutionError as err:
        if __opts__["test"]:
            # The unit comes with a package that the same run would install.
            return ret | {"result": None, "comment": f"{name} would be started"}
        return ret | {"result": False, "changes": wrong, "comment": str(err)}
    if left:
        return ret | {"result": False, "changes": wrong, "comment": f"{name}: still {left}"}
    return ret | {"changes": wrong, "comment": f"{name}: {', '.join(wrong)}"}


def mod_watch(name, sfun=None, **kwargs):
    """Tell what a real run does: there `running` has seen the newer files and acted already."""
    ret = {"name": name, "result": True, "changes": {}, "comment": f"{name} read them already"}
    if __opts__["test"]:
        ret |= {"result": None, "comment": f"{name} would read what changes"}
        ret["changes"] = {"restarted": {"old": "what is on disk", "new": "what would be written"}}
    return ret
