"""One repair: verify, wait for who is at work, gather evidence, restart, verify, record.

The event that led here is not believed: the host is asked again before anything is touched.
"""

from __future__ import annotations

import time
from typing import Any

from voip_stack import paths
from voip_stack.events import locks
from voip_stack.events.alerts import raise_alert
from voip_stack.pillar import Pillar, current
from voip_stack.pillar.health import dependencies
from voip_stack.problem import Problem
from voip_stack.repair import hosts, state
from voip_stack.repair.incidents import Incident
from voip_stack.repair.rules import APPLYING, Decision, Look, Situation, decide

PAUSE_S = 0.5
# A dependency is back: what needs it may be about to notice by itself (the pooler logs in anew
# every two seconds). Who asks only now cannot know how long the dependency has been back.
SETTLE_S = 6.0


def repair(
    host: str,
    service: str,
    *,
    for_s: float = 0.0,
    has_answered: bool = True,
    by: str,
    forced: bool,
) -> dict[str, Any]:
    """Repair `service` of `host` if it needs it. Returns {outcome, why, ...} of the incident.

    for_s: how long it has been down already. has_answered: False for one that was never seen to
    serve: that it does now is its first start, no recovery. by: who asks. forced: an operator does:
    neither maintenance nor the count of repairs keeps from it. Never two at once for one service.
    """
    pillar = current(paths.pillar_dir())
    with locks.one_at_a_time(f"repair/{host}/{service}") as mine:
        if not mine:
            return {"outcome": "under way", "why": "another repair of it is at work"}
        incident = Incident(host, service, "", by, began=time.time() - for_s)
        return _Repair(pillar, incident, forced, has_answered).run()


class _Repair:
    """The steps, with what they share."""

    def __init__(self, pillar: Pillar, incident: Incident, forced: bool, has_answered: bool):
        self.pillar, self.incident = pillar, incident
        self.forced, self.has_answered = forced, has_answered
        self.host, self.service = incident.host, incident.service
        self.needed = dependencies(pillar, self.host, self.service)
        self.waited: list[str] = []

    def run(self) -> dict[str, Any]:
        decision = self._decide_and_wait()
        if decision.action in ("kill", "restart"):
            self._mend(decision)
        elif decision.action == "degrade":
            state.degrade(self.host, self.service, decision.why)
            self._close("degraded", decision.why)
            self._alert("service/degraded", f"{decision.why}; nothing more is tried until it "
                        "answers or an operator clears it")  # fmt: skip
        else:
            self._leave(decision)
        return {
            "outcome": self.incident.outcome,
            "why": self.incident.why or decision.why,
            "id": self.incident.id,
            "done": self.incident.done,
            "took_s": self.incident.took_s,
        }

    def _decide_and_wait(self) -> Decision:
        """The decision once nobody else is at work on the service any more.

        A process that runs is restarted only when it does not answer though nothing has kept it
        from that for SETTLE_S: its dependencies may have come back a moment ago.
        """
        deadline = time.monotonic() + self.pillar.repair.wait_s
        free_since = None if self.needed and not self.forced else 0.0
        while True:
            asked = time.monotonic()
            look = hosts.look(self.host, self.service)
            self.incident.seen = self.incident.seen or look.what
            decision = decide(self._situation(look), self.pillar.repair)
            if decision.action == "wait":
                free_since = None
                if decision.why not in self.waited:
                    self.waited.append(decision.why)
                if time.monotonic() > deadline:
                    return decision
            else:
                free_since = time.monotonic() if free_since is None else free_since
                runs = decision.action == "restart" and look.active == "active"
                if not runs or asked - free_since >= SETTLE_S:
                    return decision
            time.sleep(PAUSE_S)

    def _situation(self, look: Look) -> Situation:
        known = state.degraded().get(state.key(self.host, self.service))
        paused = state.maintenance().get(self.host)
        return Situation(
            look,
            time.time(),
            down=self._down() if look.what else [],
            maintenance=(paused["reason"] or "no reason given") if paused else "",
            degraded=known["why"] if known else "",
            repairs=state.repairs(self.host, self.service),
            forced=self.forced,
        )

    def _down(self) -> list[str]:
        return [f"{host}/{name}" for host, name in self.needed if hosts.probe(host, name)]

    def _mend(self, decision: Decision) -> None:
        incident = self.incident
        incident.done += [f"waited: {why}" for why in self.waited]
        incident.why = decision.why
        incident.write()
        try:
            incident.keep_evidence(hosts.evidence(self.host, self.service))
            stopped = decision.action == "kill"
            done, problem = hosts.restart(self.host, self.service, stopped=stopped)
            incident.done += done
            if problem:
                raise Problem(problem)
            hosts.answers(self.host, self.service, self.pillar.repair.wait_s)
        except Problem as problem:
            state.repaired(self.host, self.service, False)
            self._close("failed", problem.what)
            self._alert("service/not-repaired", problem.what)
        else:
            state.repaired(self.host, self.service, True)
            self._close("repaired", decision.why)

    def _leave(self, decision: Decision) -> None:
        """Nothing was touched: recorded when it is news."""
        if decision.action == "nothing":
            self._recovered()
            return
        outcome = {"leave": "left", "wait": "waiting", "pause": "paused"}[decision.action]
        self.incident.outcome = outcome
        is_news = decision.told or (decision.action == "wait" and "is down" in decision.why)
        if is_news and state.tell(self.host, self.service, decision.why):
            self._close(outcome, decision.why)
            if decision.told:
                self._alert("service/left", f"{decision.why}; it is not touched")

    def _recovered(self) -> None:
        """It answers. An incident unless somebody was at work: a state run, an operator."""
        if self.incident.by == "operator" or not self.has_answered or self.waited == [APPLYING]:
            self.incident.outcome = "recovered"
            return
        self.incident.done += [f"waited: {why}" for why in self.waited]
        self._close("recovered", "it answered again before anything was done")

    def _close(self, outcome: str, why: str) -> None:
        self.incident.close(outcome, why)

    def _alert(self, kind: str, why: str) -> None:
        raise_alert(kind, self.host, f"{self.service}: {why}", incident=self.incident.id)
