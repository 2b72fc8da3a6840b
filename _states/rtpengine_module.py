"""Have RTPEngine forward in the kernel, where the host has one of its own."""

from salt.exceptions import CommandExecutionError

__virtualname__ = "rtpengine_module"

_NOT_HERE = ("unsupported", "disabled")
_EVENT = "kernel/build-failed"
_REASON_CHARS = 300  # what the event's model takes


def __virtual__():
    if "rtpengine_module.diff" not in __salt__:
        return False, "the rtpengine_module execution module is not loaded"
    return __virtualname__


def built(name):
    """Have the kernel module built, loaded, fed by a rule and used by the daemon, also at boot.

    Built for the running kernel and for the one that boots next. A host without a kernel of its
    own is fine as it is. Where the running kernel's headers are gone, the result is good as far as
    it goes, and the comment says that a reboot is required. After a failure RTPEngine goes on in
    user space, and the event `kernel/build-failed` tells the master the reason.

    .. code-block:: yaml

        Forward RTP in the kernel:
          rtpengine_module.built
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "RTP is forwarded in the kernel"}
    plan, changes = {}, {}
    try:
        plan, changes = __salt__["rtpengine_module.diff"]()
        if plan["reason"]:
            ret["comment"] = f"{plan['verdict']}: {plan['reason']}"
        if plan["verdict"] in _NOT_HERE:
            return ret
        ret["changes"] = changes
        if plan["verdict"] not in ("kernel", "reboot required"):
            return _failed(ret | {"result": False, "changes": {}}, plan)
        if not changes:
            return ret
        if __opts__["test"]:
            return ret | {"result": None, "comment": f"would change: {', '.join(changes)}"}
        __salt__["rtpengine_module.apply"](changes, plan["version"])
        plan, left = __salt__["rtpengine_module.diff"]()
    except CommandExecutionError as err:
        plan, done = _after(plan, changes)
        return _failed(ret | {"result": False, "changes": done, "comment": str(err)}, plan)
    if left:
        comment = f"still to do: {', '.join(left)}"
        return _failed(ret | {"result": False, "comment": comment}, plan)
    return ret


def _after(plan, changes):
    """(the plan now, those of changes that were made before the failure)."""
    try:
        plan, left = __salt__["rtpengine_module.diff"]() if changes else (plan, {})
    except CommandExecutionError:
        return plan, {}
    return plan, {what: change for what, change in changes.items() if what not in left}


def _failed(ret, plan):
    """Tell everybody: a media host that silently forwards in user space is found under load."""
    if not __opts__["test"]:
        release = (plan.get("build") or [__grains__.get("kernelrelease", "")])[0]
        reason = " ".join(ret["comment"].split())[:_REASON_CHARS]
        __salt__["voip_event.send"](_EVENT, release=release, reason=reason)
    return ret
