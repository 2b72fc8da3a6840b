"""Give every host its identity in the Vault.

Only wrapping tokens cross the master: single-use, short-lived, each for one AppRole and address.
"""

from concurrent.futures import ThreadPoolExecutor

import salt.client
from salt.exceptions import CommandExecutionError

__virtualname__ = "voip_vault"

TIMEOUT_S = 60


def __virtual__():
    return __virtualname__


def enrol(hosts=None):
    """Enrol the hosts (list of names; all by default) that cannot log in yet.

    Returns {host: "enrolled" or "already enrolled"}. Raises CommandExecutionError naming each host
    that could not be, after the others were.
    """
    with salt.client.get_local_client(mopts=__opts__) as client:
        provisioner, hosts = _parties(hosts)
        able = _call(client, hosts, "voip_vault.is_enrolled")
        done = {host: "already enrolled" for host in hosts if able.get(host) is True}
        failed = {
            host: able.get(host) or "does not answer"
            for host in hosts
            if able.get(host) not in (True, False)
        }
        due = [host for host in hosts if able.get(host) is False]
        if due:
            issued = _issue(client, provisioner, due)
    with ThreadPoolExecutor(max(1, len(due))) as pool:
        answers = pool.map(lambda host: _enrol(host, issued[host]), due)
        for host, answer in zip(due, answers, strict=True):
            if answer is True:
                done[host] = "enrolled"
            else:
                failed[host] = answer or "does not answer"
    if failed:
        raise CommandExecutionError(
            "; ".join(f"{host}: {reason}" for host, reason in sorted(failed.items()))
        )
    return done


def _parties(hosts):
    """Which minion provisions, and who is to be enrolled."""
    from voip_stack import paths
    from voip_stack.pillar import load

    pillar = load(paths.pillar_dir())
    known = pillar.minions()
    if unknown := sorted(set(hosts or []) - set(known)):
        raise CommandExecutionError(f"no such host in pillar/topology.yaml: {', '.join(unknown)}")
    provisioners = [name for name in known if "devstack" in pillar.hosts[name].roles]
    if not provisioners:
        raise CommandExecutionError("no host has the role devstack, which provisions the Vault")
    return provisioners[0], hosts or known


def _enrol(host, issued):
    """In a thread of its own: a client serves one. Returns True, or what went wrong."""
    with salt.client.get_local_client(mopts=__opts__) as client:
        arguments = {"role_id": issued["role_id"], "wrap_token": issued["wrap_token"]}
        return _call(client, [host], "voip_vault.enrol", arguments).get(host)


def _issue(client, provisioner, names):
    answer = _call(client, [provisioner], "voip_vault.issue_each", {"names": names})
    if not isinstance(answer.get(provisioner), dict):
        raise CommandExecutionError(
            f"{provisioner} issues nothing: {answer.get(provisioner) or 'no answer'}"
        )
    return answer[provisioner]


def _call(client, hosts, function, kwargs=None):
    return client.cmd(hosts, function, kwarg=kwargs or {}, tgt_type="list", timeout=TIMEOUT_S)
