"""End a component's states with proof: the daemon answers its own protocol."""

import time

from salt.exceptions import CommandExecutionError

__virtualname__ = "voip_health"

_PAUSE_S = 0.2


def __virtual__():
    return __virtualname__


def answers(name, arguments=(), timeout_s=20):
    """Call execution module function `name` until it raises no more.

    timeout_s: how long a daemon that was just started may need. Changes nothing, so a run with
    test=True does not wait for what it did not start.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": f"{name} answers"}
    if name not in __salt__:
        return ret | {"result": False, "comment": f"{name} is no function of this minion"}
    if __opts__["test"]:
        return ret | {"comment": f"{name} is asked in a real run"}
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            __salt__[name](*arguments)
            return ret
        except CommandExecutionError as err:
            if time.monotonic() > deadline:
                return ret | {"result": False, "comment": f"{name}: {err}"}
        time.sleep(_PAUSE_S)
