"""Rotate database and API credentials: what is due, or what is asked for, one after the other.

Each secret goes through the steps of _utils/voip_credentials.py. What was done is in the Vault, so
a run that died leaves nothing to repair: the next one goes on from there. Run by
salt/orchestrate/rotate.sls and by the master's schedule (docs/rotation.md).
"""

import logging
import time

import salt.client
from salt.exceptions import CommandExecutionError

log = logging.getLogger(__name__)

__virtualname__ = "voip_rotation"

_FUNCTION_S = 60
_STATE_S = 300  # an apply that somebody runs by hand may be in the way
_LOCK = "rotation"


class _Busy(CommandExecutionError):
    """Another rotation runs: nothing is wrong, and nobody has to be told."""


def __virtual__():
    return __virtualname__


def survey(hosts=None, secrets=None):
    """Return [{"host", "name", "kind", "phase", "age_s", "due_in_s"}], never a value.

    hosts, secrets: lists of names, all by default. kind: "database" or "api". due_in_s: below 0
    when overdue.
    """
    plan = _Plan(__opts__)
    with salt.client.get_local_client(mopts=__opts__) as client:
        return plan.survey(client, hosts, secrets)


def rotate(hosts=None, secrets=None, force=False):
    """Rotate the secrets that are due, and finish every rotation that has begun.

    hosts, secrets: lists of names, all by default. force: bool, also those that are not due.
    Returns {"rotated": {"<host>/<name>": [step, ...]}, "left": [those not due]}.
    Raises CommandExecutionError when another rotation runs, and, after the others were done, for
    each that failed: its old credential is still good, and the next run goes on with it.
    """
    from voip_stack.events import locks

    with locks.one_at_a_time(_LOCK) as is_mine:
        if not is_mine:
            raise _Busy("another rotation is running")
        return _rotate(_Plan(__opts__), hosts, secrets, force)


def scheduled():
    """What the master's schedule runs: `rotate`, quiet before there is a platform, loud after.

    It looks when it starts too: what it missed while it was down is due then, and what a crash
    interrupted goes on.
    """
    from voip_stack import deployment, paths
    from voip_stack.events import alerts
    from voip_stack.master import client
    from voip_stack.pillar import load

    if not deployment.read().get("converged"):
        return {"rotated": {}, "left": []}
    client.ping(load(paths.pillar_dir()).minions(), client.RESTARTED_S)
    try:
        return rotate()
    except _Busy:
        raise
    except CommandExecutionError as error:
        alerts.raise_alert("rotation/failed", "voip", str(error))
        raise


def _rotate(plan, hosts, secrets, force):
    rotated, left, failed = {}, [], {}
    with salt.client.get_local_client(mopts=__opts__) as client:
        for item in plan.survey(client, hosts, secrets):
            key = f"{item['host']}/{item['name']}"
            steps = plan.steps(item, force)
            if not steps:
                left.append(key)
                continue
            try:
                for step in steps:
                    log.info("Rotation of %s: %s", key, step)
                    plan.do(client, item["host"], item["name"], step)
                rotated[key] = steps
            except CommandExecutionError as error:
                failed[key] = f"{step}: {error}"
    if failed:
        done = f" (rotated: {', '.join(rotated)})" if rotated else ""
        raise CommandExecutionError(
            "; ".join(f"{key}: {why}" for key, why in sorted(failed.items())) + done
        )
    return {"rotated": rotated, "left": left}


class _Plan:
    """Who does which step of which secret, by the pillar."""

    def __init__(self, opts):
        from voip_stack import identity, paths
        from voip_stack.pillar import load
        from voip_stack.problem import Problem
        from voip_stack.rotation import credentials

        self._rules = credentials
        self._pillar = load(paths.pillar_dir())
        try:
            self._provisioner = identity.provisioner(self._pillar)
        except Problem as problem:
            raise CommandExecutionError(str(problem)) from None
        self._ages = self._pillar.rotation.ages()

    def survey(self, client, hosts, secrets):
        self._check(hosts, secrets)
        found = _function(client, self._provisioner, "voip_rotation.survey")
        now, items = time.time(), []
        for key, entry in sorted(found.items()):
            host, _, name = key.partition("/")
            kind = self._rules.KINDS.get(name)
            if kind is None or host not in (hosts or [host]) or name not in (secrets or [name]):
                continue
            age_s = max(0, int(now - entry["made"]))
            items.append(
                {
                    "host": host,
                    "name": name,
                    "kind": kind.age,
                    "phase": entry["phase"],
                    "age_s": age_s,
                    "due_in_s": self._ages[kind.age] - age_s,
                }
            )
        return items

    def steps(self, item, force):
        return self._rules.remaining(item["phase"], force or item["due_in_s"] <= 0)

    def do(self, client, host, name, step):
        """One step. Raises CommandExecutionError; can be repeated."""
        kind = self._rules.KINDS[name]
        phase = dict(self._rules.STEPS)[step]
        server = self._runs(kind.server, host)
        if step in ("accept", "revoke"):
            _states(client, server, kind.accept)
        elif step == "move":
            for component, sls in kind.clients.items():
                if component in self._pillar.components_of(host):
                    _states(client, host, sls)
        elif step.startswith("prove"):
            _function(client, host, "voip_rotation.prove", {"name": name, "phase": phase})
        if step in ("retire", "revoke") and kind.drain:
            # Sessions by the old credential end by themselves first, the rest after it is revoked.
            wait_s = self._pillar.rotation.drain_s if step == "retire" else 0
            arguments = {"host": host, "timeout_s": wait_s, "end": step == "revoke"}
            _function(client, server, kind.drain, arguments)
        if step in ("offer", "switch", "retire", "finish"):
            arguments = {"host": host, "name": name, "step": step}
            _function(client, self._provisioner, "voip_rotation.advance", arguments)

    def _runs(self, component, host=None):
        """The host that runs a component: `host` itself where it does."""
        names = [host] if host else []
        for name in [*names, *self._pillar.minions()]:
            if component in self._pillar.components_of(name):
                return name
        raise CommandExecutionError(f"no host of pillar/topology.yaml runs {component}")

    def _check(self, hosts, secrets):
        if unknown := sorted(set(hosts or []) - set(self._pillar.minions())):
            raise CommandExecutionError(f"no such host: {', '.join(unknown)}")
        if unknown := sorted(set(secrets or []) - set(self._rules.KINDS)):
            raise CommandExecutionError(
                f"no such secret: {', '.join(unknown)}; there are {', '.join(self._rules.KINDS)}"
            )


def _ask(client, host, function, timeout_s, arguments=(), keywords=None):
    """One job on one host: {"ret", "retcode"}. Raises CommandExecutionError without an answer."""
    answer = client.cmd(
        [host],
        function,
        list(arguments),
        kwarg=keywords or {},
        tgt_type="list",
        timeout=timeout_s,
        full_return=True,
    ).get(host)
    if not answer:
        raise CommandExecutionError(f"{host} does not answer {' '.join([function, *arguments])}")
    return answer


def _function(client, host, function, keywords=None):
    answer = _ask(client, host, function, _FUNCTION_S, keywords=keywords)
    if answer.get("retcode"):
        raise CommandExecutionError(_last_line(answer.get("ret")))
    return answer["ret"]


def _states(client, host, sls):
    from voip_stack.master.results import parse

    answer = _ask(client, host, "state.sls", _STATE_S, [sls], {"queue": True})
    result = parse(host, answer["ret"])
    if result.failures or not result.states:
        why = "; ".join(str(item) for item in result.failures[:3]) or _last_line(answer["ret"])
        raise CommandExecutionError(why)


def _last_line(returned):
    lines = [line for line in str(returned).splitlines() if line.strip()]
    return lines[-1] if lines else "no answer"
