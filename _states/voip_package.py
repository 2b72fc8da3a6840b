"""Install the packages of one component of the platform, as pillar declares them."""

from salt.exceptions import CommandExecutionError

__virtualname__ = "voip_package"


def __virtual__():
    if "voip_package.diff" not in __salt__:
        return False, "the voip_package execution module is not loaded"
    return __virtualname__


def installed(name):
    """Have component `name` installed: packages, versions and source from pillar `voip:packages`.

    A version below the floor of `voip:versions` is refused by name, before anything changes. The
    component's service is neither started nor restarted here: let it watch this state.

    .. code-block:: yaml

        Install Kamailio:
          voip_package.installed:
            - name: kamailio
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": f"{name} is as declared"}
    try:
        ret["changes"] = __salt__["voip_package.diff"](name)
        if not ret["changes"]:
            return ret
        if __opts__["test"]:
            return ret | {"result": None, "comment": f"{name} would be installed"}
        ret["changes"] = __salt__["voip_package.install"](name)
    except CommandExecutionError as err:
        return ret | {"result": False, "changes": {}, "comment": str(err)}
    return ret | {"comment": f"{name} installed"}
