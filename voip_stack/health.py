"""The state of a deployment: guests, master, minions, components. Asks, changes nothing."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from voip_stack import deployment, drain, paths, providers
from voip_stack.master import client, daemon
from voip_stack.pillar import Pillar, load, trial
from voip_stack.pillar import compile as compiled
from voip_stack.problem import Problem
from voip_stack.repair import state

ANSWER_S = 10


@dataclass
class Component:
    """A component on a host, as `_modules/voip_status.py` reports it."""

    host: str
    name: str
    unit: str
    active: str
    version: str | None
    minimum: str | None
    safe: str | None
    why: str | None
    is_safe: bool | None
    source: str | None
    note: str = ""
    problem: str = ""

    @property
    def is_up(self) -> bool:
        return self.active in ("active", "standby")


@dataclass
class Health:
    """guests: {host: the provider's record}. minions: {host: has it answered}. drained: {host:
    {since, state: draining or drained, legs: None where it does not say}}."""

    provider: str
    converged: str | None
    master: dict[str, Any]
    guests: dict[str, dict[str, Any]] = field(default_factory=dict)
    minions: dict[str, bool] = field(default_factory=dict)
    components: list[Component] = field(default_factory=list)
    unavailable: dict[str, str] = field(default_factory=dict)
    maintenance: dict[str, dict[str, Any]] = field(default_factory=dict)
    # A trial that is on, as pillar/trial.py has it.
    trial: dict[str, Any] | None = None
    drained: dict[str, dict[str, Any]] = field(default_factory=dict)
    # The proxy that new connections to the shared address go to, as the pillar has it.
    primary: str | None = None

    @property
    def is_ok(self) -> bool:
        return (
            bool(self.converged)
            and not self.unavailable
            and self.master["running"]
            and all(guest["state"] == "running" for guest in self.guests.values())
            and all(self.minions.values())
            and all(component.is_up for component in self.components)
            and all(
                component.is_safe is not False and not component.problem
                for component in self.components
            )
        )

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"ok": self.is_ok}


def look() -> Health:
    """Ask provider, master and minions. What does not answer is reported, not raised."""
    pillar = load(paths.pillar_dir())
    facts = deployment.read()
    provider = providers.deployed(pillar)
    process = daemon.process()
    health = Health(
        provider.name,
        facts.get("converged"),
        {"running": process is not None, "pid": process.pid if process else None},
        unavailable=_unavailable(facts),
    )
    health.guests = {host: guest.as_dict() for host, guest in provider.guests().items()}
    health.maintenance = state.maintenance()
    on = trial.read(paths.state_dir())
    health.trial = on.model_dump(mode="json") if on else None
    health.minions = dict.fromkeys(pillar.minions(), False)
    if process is not None:
        _ask(health, pillar)
    health.drained = _drained()
    health.primary = compiled.primary(pillar, facts)
    return health


def _drained() -> dict[str, dict[str, Any]]:
    found = {}
    for host, entry in drain.drained().items():
        try:
            legs = drain.sessions(host)
        except Problem:
            legs = None
        word = "draining" if legs else "drained"
        found[host] = entry | {"state": word, "legs": legs}
    return found


def _ask(health: Health, pillar: Pillar) -> None:
    # A guest that does not run is not waited for.
    hosts = [host for host in pillar.minions() if health.guests[host]["state"] != "absent"]
    if not hosts:
        return
    try:
        job = client.run(hosts, "voip_status.report", deadline_s=ANSWER_S)
    except Problem:
        return
    degraded = state.degraded()
    for host, components in job.returns.items():
        health.minions[host] = True
        if isinstance(components, dict):
            health.components += [
                Component(host=host, name=name, **values) for name, values in components.items()
            ]
    for item in health.components:
        if mark := degraded.get(state.key(item.host, item.name)):
            item.problem = f"degraded: {mark['why']}" + (f"; {item.problem}" * bool(item.problem))
    health.components.sort(key=lambda item: list(pillar.hosts).index(item.host))


def _unavailable(facts: dict[str, Any]) -> dict[str, str]:
    found = {}
    for name, choice in facts.get("packages", {}).items():
        if not choice.get("source"):
            tried = "; ".join(f"{item['source']}: {item['result']}" for item in choice["tried"])
            found[name] = f"tried {tried}"
    return found


def is_up() -> bool:
    """True when there is a converged deployment whose guests run and minions answer."""
    facts = deployment.read()
    if not facts.get("converged") or not daemon.is_running():
        return False
    health = look()
    return all(guest["state"] == "running" for guest in health.guests.values()) and all(
        health.minions.values()
    )
