"""Repair one service: what salt/orchestrate/repair.sls runs. See voip_stack/repair/engine.py."""

from salt.exceptions import CommandExecutionError

__virtualname__ = "voip_repair"


def __virtual__():
    return __virtualname__


def run(host, service, for_s=0.0, has_answered=True, by="operator", forced=True):
    """Verify that `service` of `host` is down, and mend it. Returns {outcome, why, done, took_s}.

    for_s: how long it has been down. has_answered: False for one that was never seen to serve.
    forced: neither maintenance nor the count of repairs keeps from it; an operator's default.

    CLI Example: salt-run voip_repair.run sip-1 kamailio
    """
    from voip_stack import paths
    from voip_stack.pillar import load
    from voip_stack.pillar.health import probes
    from voip_stack.problem import Problem
    from voip_stack.repair import engine

    pillar = load(paths.pillar_dir())
    known = pillar.components_of(host) if host in pillar.minions() else []
    if service not in probes(pillar, host, known):
        why = "it has no probe" if service in known else f"{host} does not run it"
        raise CommandExecutionError(f"{service} cannot be repaired: {why}")
    try:
        return engine.repair(
            host, service, for_s=for_s, has_answered=has_answered, by=by, forced=forced
        )
    except Problem as problem:
        raise CommandExecutionError(str(problem)) from problem
