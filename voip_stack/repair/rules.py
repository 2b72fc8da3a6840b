"""From what is known about a service to what is done: pure, tested by tables.

The order of the rules is the policy: what an operator wants comes before what a program would do,
and a dependency before the service that needs it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from voip_stack.pillar.health import Repair

# nothing: it answers. leave: not ours to touch. wait: somebody is at it, or a dependency is down.
# degrade: give up and tell. pause: too soon after a repair that did not help. restart, kill: mend.
Action = Literal["nothing", "leave", "wait", "degrade", "pause", "restart", "kill"]
APPLYING = "a state run is at work on this host"
# OpenSSL's words for a certificate whose time is over (X509_V_ERR_CERT_HAS_EXPIRED).
_EXPIRED = "certificate has expired"
# States in which systemd is at work itself.
CHANGING = ("activating", "deactivating", "reloading", "refreshing")


@dataclass(frozen=True)
class Look:
    """A service as its host sees it: _modules/voip_repair.py `look`."""

    what: str
    active: str
    sub: str = ""
    load: str = "loaded"
    result: str = "success"
    for_s: float | None = None
    restarts: int = 0
    processes: int = 0
    stopped: int = 0
    applying: bool = False

    @classmethod
    def of(cls, facts: dict[str, Any]) -> Look:
        return cls(**{name: facts[name] for name in cls.__dataclass_fields__ if name in facts})


@dataclass(frozen=True)
class Situation:
    """All that a decision needs. Times are seconds of the epoch.

    down: dependencies that do not answer, "host/component". repairs: when the last ones ended, and
    whether each helped. forced: an operator ordered it, so that only facts count.
    """

    look: Look
    now: float
    down: list[str] = field(default_factory=list)
    maintenance: str = ""
    degraded: str = ""
    repairs: list[tuple[float, bool]] = field(default_factory=list)
    forced: bool = False


@dataclass(frozen=True)
class Decision:
    """why: for the record and the operator. told: worth an alert where nothing is mended."""

    action: Action
    why: str
    told: bool = False


def decide(situation: Situation, policy: Repair) -> Decision:
    """What to do about one service now."""
    look = situation.look
    if not look.what:
        return Decision("nothing", "it answers")
    if look.load != "loaded":
        return Decision("leave", "it is not installed yet")
    if situation.maintenance and not situation.forced:
        return Decision("leave", f"maintenance: {situation.maintenance}")
    if look.applying:
        return Decision("wait", APPLYING)
    if look.active == "inactive" and not situation.forced:
        # Restart=always: a unit is only ever inactive because somebody stopped it.
        return Decision("leave", "it was stopped by an operator", told=True)
    if "sealed" in look.what and not look.stopped:
        # A crash does not seal it (openbao.service unseals at each start): somebody did.
        return Decision("leave", "it was sealed by an operator", told=True)
    if _EXPIRED in look.what and not look.stopped and not situation.forced:
        # It serves whom it has; a restart would end their calls and give it no other certificate.
        return Decision("leave", "its certificate has ended: it has to be renewed", told=True)
    if situation.down:
        return Decision("wait", f"{', '.join(situation.down)} is down")
    if look.active in CHANGING and not look.stopped and (look.for_s or 0) < policy.wait_s:
        return Decision("wait", f"systemd is at work: {look.active} ({look.sub})")
    if situation.degraded and not situation.forced:
        return Decision("leave", f"degraded: {situation.degraded}")
    return _mend(situation, policy)


def _mend(situation: Situation, policy: Repair) -> Decision:
    look = situation.look
    if not situation.forced:
        recent = recent_repairs(situation, policy)
        if len(recent) >= policy.flapping.repairs:
            minutes = policy.flapping.window_s / 60
            why = f"{len(recent)} repairs in {minutes:g} minutes did not last"
            return Decision("degrade", why, told=True)
        if (left := pause_left(recent, situation.now, policy)) > 0:
            return Decision("pause", f"the last repair did not help; {left:.0f} s to the next try")
    if look.stopped:
        return Decision("kill", f"{look.stopped} of {look.processes} processes are stopped")
    return Decision("restart", f"{look.active} ({look.sub}) and does not answer")


def recent_repairs(situation: Situation, policy: Repair) -> list[tuple[float, bool]]:
    since = situation.now - policy.flapping.window_s
    return [item for item in situation.repairs if item[0] > since]


def pause_left(recent: list[tuple[float, bool]], now: float, policy: Repair) -> float:
    """Seconds until the next try: none after one that helped, doubled by each that did not."""
    failed = 0
    for _, helped in reversed(recent):
        if helped:
            break
        failed += 1
    if not failed:
        return 0.0
    return recent[-1][0] + policy.pause_s * 2 ** (failed - 1) - now
