"""Job returns as data: which states ran, changed, failed, how long. Pure functions, no Salt.

A state run's return is a mapping from low-data tags to results, or, where it could not be
compiled, a list of error texts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class StateFailure:
    """One failed state: its ID, the host, and what it said."""

    host: str
    state_id: str
    sls: str
    comment: str

    def __str__(self) -> str:
        place = f" (salt/{self.sls.replace('.', '/')})" if self.sls else ""
        return f"{self.host}: {self.state_id}{place}\n    {_indented(self.comment)}"


@dataclass
class HostResult:
    """What one host's state run did."""

    host: str
    states: int = 0
    changed: list[str] = field(default_factory=list)
    failures: list[StateFailure] = field(default_factory=list)
    durations_s: dict[str, float] = field(default_factory=dict)

    @property
    def is_ok(self) -> bool:
        return not self.failures

    @property
    def total_s(self) -> float:
        return sum(self.durations_s.values())


def parse(host: str, returned: Any) -> HostResult:
    """Read one host's return of state.apply or state.highstate."""
    result = HostResult(host)
    if not isinstance(returned, dict):
        lines = returned if isinstance(returned, list) else [returned]
        text = "\n".join(str(line) for line in lines)
        result.failures.append(StateFailure(host, "The states could not be compiled", "", text))
        return result
    for tag, state in returned.items():
        if isinstance(state, dict) and "result" in state:
            _add(result, tag, state)
    if not result.states:
        text = str(returned)[:2000]
        result.failures.append(StateFailure(host, "The states did not run", "", text))
    return result


def _add(result: HostResult, tag: str, state: dict[str, Any]) -> None:
    result.states += 1
    identifier = str(state.get("__id__") or tag.split("_|-")[1 if "_|-" in tag else 0])
    # Two states may share an ID within a formula (pkg and service below one name).
    label = f"{identifier} [{tag.split('_|-')[0]}]" if "_|-" in tag else identifier
    result.durations_s[label] = result.durations_s.get(label, 0.0) + _seconds(state)
    if state.get("changes"):
        result.changed.append(identifier)
    if state["result"] is False and not _is_consequence(state):
        sls, comment = str(state.get("__sls__", "")), str(state.get("comment", "")).strip()
        result.failures.append(StateFailure(result.host, identifier, sls, comment))


def _seconds(state: dict[str, Any]) -> float:
    try:
        return float(state.get("duration", 0)) / 1000
    except (TypeError, ValueError):  # some Salt modules return "12.3 ms"
        return float(str(state["duration"]).split()[0]) / 1000


def _is_consequence(state: dict[str, Any]) -> bool:
    """True for a state that did not run because one it requires failed: the cause is listed."""
    return str(state.get("comment", "")).startswith("One or more requisite failed")


def merge(first: HostResult | None, second: HostResult) -> HostResult:
    """Two runs on one host as one: `up` applies some hosts twice."""
    if first is None:
        return second
    durations = dict(first.durations_s)
    for label, seconds in second.durations_s.items():
        durations[label] = durations.get(label, 0.0) + seconds
    return HostResult(
        second.host,
        first.states + second.states,
        first.changed + second.changed,
        first.failures + second.failures,
        durations,
    )


def slowest(results: list[HostResult], count: int) -> list[tuple[str, str, float]]:
    """(host, state, seconds) of the states that took longest."""
    every = [
        (result.host, label, seconds)
        for result in results
        for label, seconds in result.durations_s.items()
    ]
    return sorted(every, key=lambda item: item[2], reverse=True)[:count]


def orchestration_states(document: Any) -> dict[str, dict[str, Any]]:
    """State ID -> state of what state.orchestrate returned; {} when it is none."""
    data = document.get("data", document) if isinstance(document, dict) else {}
    states = next((value for value in data.values() if isinstance(value, dict)), {})
    return {
        str(state.get("__id__", tag)): state
        for tag, state in states.items()
        if isinstance(state, dict) and "result" in state
    }


def _indented(text: str) -> str:
    return "\n    ".join(text.splitlines()[:30])
