"""Give each host its identity in the Vault, replace it before it ends, revoke it with its host.

Runs on the control host: by the runner of `up`, by the handlers of events, by `voip destroy HOST`.
Only wrapping tokens cross the master: single-use, short-lived, each for one AppRole and address.
Everything is repeatable: killed at any step, the next run finds what is there and goes on.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from voip_stack import paths
from voip_stack.events import locks
from voip_stack.pillar import Pillar, load
from voip_stack.problem import Problem

# ask(host, function, **keywords) -> its return; Problem when it fails or does not answer.
Ask = Callable[..., Any]
Report = Callable[[str, str, str], None]
# Deliveries of one identity before somebody must look who keeps taking it.
ATTEMPTS = 3
BUSY_S = 60


def enrol(hosts: Sequence[str] | None = None) -> dict[str, str]:
    """Enrol those of `hosts` (all by default) that cannot log in, or whose identity nears its end.

    Returns {host: "enrolled" or "already enrolled"}. Problem that names each host that could not
    be, after the others were.
    """
    pillar = load(paths.pillar_dir())
    known = pillar.minions()
    if unknown := sorted(set(hosts or []) - set(known)):
        raise Problem(f"No such host: {', '.join(unknown)}", "pillar/topology.yaml")
    delivery = Delivery(provisioner(pillar))
    done, failed = {}, {}
    wanted = list(hosts or known)
    with ThreadPoolExecutor(max(1, len(wanted))) as pool:
        running = {host: pool.submit(_alone, delivery, host) for host in wanted}
    for host, future in running.items():
        try:
            done[host] = future.result()
        except Problem as problem:
            failed[host] = str(problem)
    if failed:
        reasons = "; ".join(f"{host}: {reason}" for host, reason in failed.items())
        raise Problem(f"Not enrolled: {reasons}", ", ".join(failed), "mend it, then ./voip up")
    return done


def revoke(host: str) -> dict[str, int]:
    """Remove all that the Vault holds for `host`. Returns {what: how many}."""
    provisions = provisioner(load(paths.pillar_dir()))
    with locks.in_turn(f"identity/{host}", BUSY_S):
        return _ask(provisions, "voip_vault_identity.revoke", name=host)


def provisioner(pillar: Pillar) -> str:
    """The host that provisions the Vault. Problem when there is none."""
    for name in pillar.minions():
        if "devstack" in pillar.hosts[name].roles:
            return name
    raise Problem("No host provisions the Vault", "pillar/topology.yaml", "give one role devstack")


class Delivery:
    """Bring identities to where they belong, and notice when one went elsewhere.

    provisions: the host that issues. ask, report, clock: for tests.
    """

    def __init__(
        self,
        provisions: str,
        ask: Ask | None = None,
        report: Report | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._provisions = provisions
        self._ask = ask or _ask
        self._report = report or _report
        self._clock = clock

    def ensure(self, host: str) -> str:
        """Enrol `host` where that is due. Returns "enrolled" or "already enrolled"."""
        held = self._ask(host, "voip_vault.held")
        if held["works"] and not held["due"]:
            # A run that was killed after the host had its new one left the one before it.
            self.retire(host, held["accessor"])
            return "already enrolled"
        return self.replace(host)

    def replace(self, host: str) -> str:
        """Give `host` a new identity; the one before ends once the new one has logged in."""
        accessor = self.deliver(
            host,
            lambda issued: self._ask(
                host,
                "voip_vault.accept",
                role_id=issued["role_id"],
                wrap_token=issued["wrap_token"],
            ),
        )
        self.retire(host, accessor)
        return "enrolled"

    def retire(self, name: str, accessor: str) -> None:
        """End every secret_id of `name` but the one that has been proved."""
        self._ask(self._provisions, "voip_vault_identity.retire", name=name, keep=accessor)

    def deliver(self, name: str, accept: Callable[[dict[str, Any]], dict[str, str]]) -> str:
        """Issue a secret_id for `name` until accept(issued) has it. Returns its accessor.

        accept returns {"accessor"} or, where somebody else had unwrapped it, {"spent": why}: that
        one is destroyed with all tokens that it may have given, reported, and another is issued.
        """
        for _ in range(ATTEMPTS):
            issued = self._ask(self._provisions, "voip_vault_identity.issue", name=name)
            began = self._clock()
            try:
                taken = accept(issued)
            except Problem:
                with contextlib.suppress(Problem):
                    self._withdraw(name, issued)
                raise
            if accessor := taken.get("accessor"):
                return accessor
            self._withdraw(name, issued)
            self._report(*_event(name, taken["spent"], self._clock() - began, issued["ttl_s"]))
        raise Problem(
            f"{ATTEMPTS} wrapping tokens in a row did not reach {name} unread: {taken['spent']}",
            ".voip/events/security.jsonl",
            "find out who listens between the control host and it, then ./voip up",
        )

    def _withdraw(self, name: str, issued: dict[str, Any]) -> None:
        self._ask(
            self._provisions, "voip_vault_identity.withdraw", name=name, issue=issued["issue"]
        )


def _event(name: str, why: str, took_s: float, ttl_s: int) -> tuple[str, str, str]:
    """The security event of a delivery that failed: a slow machine is no thief."""
    ended = "its secret_id was destroyed, another is issued"
    if took_s < ttl_s:
        return "identity/intercepted", name, f"{why}; {ended}"
    late = f"the wrapping token arrived after {took_s:.0f} s, its life is {ttl_s} s"
    return "identity/undelivered", name, f"{late}; {ended}"


def _alone(delivery: Delivery, host: str) -> str:
    with locks.in_turn(f"identity/{host}", BUSY_S):
        return delivery.ensure(host)


def _ask(host: str, function: str, **keywords: Any) -> Any:
    from voip_stack.master import client

    return client.call(host, function, timeout_s=BUSY_S, **keywords)


def _report(kind: str, host: str, detail: str) -> None:
    from voip_stack.events import security

    security.report(kind, host, detail)
