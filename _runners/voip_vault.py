"""Give every host its identity in the Vault.

Only wrapping tokens cross the master: single-use, short-lived, each for one AppRole and address.
"""

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
    done, failed = {}, {}
    with salt.client.get_local_client(mopts=__opts__) as client:
        provisioner, hosts = _parties(client, hosts)
        able = _call(client, hosts, "voip_vault.is_enrolled")
        for host in hosts:
            if able.get(host) is True:
                done[host] = "already enrolled"
                continue
            if able.get(host) is not False:
                failed[host] = able.get(host) or "does not answer"
                continue
            try:
                _enrol_one(client, provisioner, host)
                done[host] = "enrolled"
            except CommandExecutionError as err:
                failed[host] = str(err)
    if failed:
        raise CommandExecutionError(
            "; ".join(f"{host}: {reason}" for host, reason in sorted(failed.items()))
        )
    return done


def _parties(client, hosts):
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


def _enrol_one(client, provisioner, host):
    issued = _issue(client, provisioner, host)
    answer = _call(
        client,
        [host],
        "voip_vault.enrol",
        {"role_id": issued["role_id"], "wrap_token": issued["wrap_token"]},
    ).get(host)
    if answer is not True:
        raise CommandExecutionError(answer or "does not answer")


def _issue(client, provisioner, name):
    issued = _call(client, [provisioner], "voip_vault.issue", {"name": name}).get(provisioner)
    if not isinstance(issued, dict):
        raise CommandExecutionError(f"{provisioner} issues nothing: {issued or 'no answer'}")
    return issued


def _call(client, hosts, function, kwargs=None):
    return client.cmd(hosts, function, kwarg=kwargs or {}, tgt_type="list", timeout=TIMEOUT_S)
