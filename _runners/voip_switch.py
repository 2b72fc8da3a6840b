"""Move who is registered to the primary proxy. Run by salt/orchestrate/switch_proxy.sls."""

import logging

import salt.client
from salt.exceptions import CommandExecutionError

log = logging.getLogger(__name__)

__virtualname__ = "voip_switch"

_ANSWER_S = 30
_LOCK = "switch"


def __virtual__():
    return __virtualname__


def move(hosts, wait_s=900):
    """Move the devices of `hosts` to the primary: see voip_stack/switch.py for what it returns.

    Raises CommandExecutionError when another one runs, or a host does not answer.
    """
    from voip_stack import switch
    from voip_stack.events import locks

    with (
        locks.one_at_a_time(_LOCK) as is_mine,
        salt.client.get_local_client(mopts=__opts__) as client,
    ):
        if not is_mine:
            raise CommandExecutionError("another switch of the proxies is running")
        return switch.move(
            lambda host, function, *arguments: _ask(client, host, function, arguments),
            hosts,
            float(wait_s),
            log.info,
        )


def _ask(client, host, function, arguments):
    answer = client.cmd(
        [host], function, list(arguments), tgt_type="list", timeout=_ANSWER_S, full_return=True
    ).get(host)
    if not answer:
        raise CommandExecutionError(f"{host} does not answer {function}")
    if answer.get("retcode"):
        raise CommandExecutionError(str(answer.get("ret")).strip().splitlines()[-1])
    return answer["ret"]
