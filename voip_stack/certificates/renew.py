"""Have a host renew one of its certificates now, by salt/orchestrate/renew.sls.

Never two at once for the same one: a lock here keeps other orders away, one on the host
(_utils/voip_generations.py) a state run.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

from voip_stack import deployment, paths
from voip_stack.certificates import outages
from voip_stack.events import locks, orchestrate, record
from voip_stack.master import daemon
from voip_stack.pillar import Pillar, current
from voip_stack.pillar.compile import certificates
from voip_stack.problem import Problem

RECORD = "renewals"
# Who wants it, where an event of the host's beacon does.
BEACON = "beacon"
# Longer than a renewal with its way back takes, where a daemon does not answer.
WAIT_S = 90.0


@dataclass(frozen=True)
class Renewal:
    """outcome: renewed; proved (an interrupted one was ended); good (nothing to do). why: in words.

    seconds: from the order, or from the event that led to it, to the daemon's proof. proof_s: of
    them, from its reload to the proof; None where no daemon runs. not_after: ISO 8601. serial: hex.
    """

    host: str
    name: str
    by: str
    outcome: str
    why: str
    seconds: float
    proof_s: float | None = None
    serial: str | None = None
    not_after: str | None = None
    life_s: int | None = None


class NotRenewed(Problem):
    """The certificate of before is in use still. cause: `vault`, which does not sign now; `host`,
    where it was refused or not shown; `minion`, which does not answer."""

    def __init__(self, cause: str, what: str, where: str, how: str):
        self.cause = cause
        super().__init__(what, where, how)


def held(pillar: Pillar) -> list[tuple[str, str]]:
    """[(host, name)] of every certificate that a host of ours has."""
    facts = deployment.read()
    return [(host, name) for host in pillar.minions() for name in certificates(pillar, host, facts)]


def renew(
    host: str,
    name: str,
    *,
    by: str,
    forced: bool = True,
    since: float | None = None,
    wait_s: float = WAIT_S,
) -> Renewal:
    """Renew the certificate of component `name` on `host`; returns when its daemon shows it.

    by: who wants it, for the record. forced: one that is good for a while too. since: what
    `seconds` counts from, epoch of the host's clock; now by default. wait_s: how long another
    renewal of it may take before ours. NotRenewed, or another Problem where nothing was tried.
    """
    if (host, name) not in held(current(paths.pillar_dir())):
        raise Problem(f"{host} has no certificate {name}", "pillar/components/certificates.yaml")
    if not daemon.is_running():
        raise Problem("The Salt master does not run", str(daemon.log_file()), "./voip up")
    with locks.in_turn(f"certificate/{host}/{name}", wait_s):
        began = time.time()
        answer = _order(host, name, forced)
        told: dict[str, Any] = {"host": host, "name": name, "by": by}
        if answer["outcome"] == "failed":
            tried = {"outcome": "failed", "cause": answer["cause"], "why": answer["why"]}
            record.append(RECORD, told | tried | {"seconds": round(time.time() - began, 3)})
            raise _problem(host, name, answer)
        outages.mended(host, name)
        done = Renewal(
            **told,
            **{key: answer[key] for key in _RETURNED if key in answer},
            seconds=round(answer["time"] - (since or began), 3),
        )
        if done.outcome != "good":
            record.append(RECORD, asdict(done))
        return done


_RETURNED = ("outcome", "why", "proof_s", "serial", "not_after", "life_s")


def _order(host: str, name: str, forced: bool) -> dict[str, Any]:
    """What voip_renewal.renew returned; where it could not, the same with the reason."""
    order = {"host": host, "name": name, "forced": forced}
    (state,) = orchestrate.attempt("renew", {"renewal": order}).values()
    answer = state.get("changes", {}).get("ret", {}).get(host)
    if isinstance(answer, dict) and "outcome" in answer:
        return answer
    why = str(answer or state.get("comment") or "no answer")[:1000]
    return {"outcome": "failed", "cause": "minion", "why": why}


_TO_DO = {
    "vault": "./voip status; where it is sealed: systemctl restart openbao on its host",
    "host": "./voip logs {host} {name}",
    "minion": "./voip status, ./voip logs {host} salt-minion",
}


def _problem(host: str, name: str, answer: dict[str, Any]) -> NotRenewed:
    how = _TO_DO[answer["cause"]].format(host=host, name=name)
    what = f"The certificate of {name} on {host} was not renewed: {answer['why']}"
    return NotRenewed(answer["cause"], what, "salt/orchestrate/renew.sls", how)
