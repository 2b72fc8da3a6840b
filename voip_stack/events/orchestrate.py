"""Run one of salt/orchestrate/ from a handler, in the master's own process."""

from __future__ import annotations

from typing import Any

from voip_stack.events import bus
from voip_stack.master.results import orchestration_states
from voip_stack.problem import Problem


def run(name: str, pillar: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Run salt/orchestrate/NAME.sls with `pillar`. Returns its states by their IDs.

    name and pillar come from the handler's own tables, never from an event's data as it is.
    Problem that names the first failed state.
    """
    states = attempt(name, pillar)
    for state_id, state in states.items():
        comment = str(state.get("comment", ""))
        if state.get("result") is False and "requisite failed" not in comment:
            raise Problem(f"{state_id}: {comment[:1000]}", _file(name))
    return states


def attempt(name: str, pillar: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """As `run`, for a caller who reads by himself which states failed, and what they returned."""
    import salt.runner

    with salt.runner.RunnerClient(bus.options()) as client:
        returned = client.cmd(
            "state.orchestrate",
            [f"orchestrate.{name}"],
            kwarg={"pillar": pillar},
            print_event=False,
            full_return=True,
        )
    states = orchestration_states(returned.get("return"))
    if not states:
        raise Problem(f"The orchestration {name} did not run: {str(returned)[:500]}", _file(name))
    return states


def _file(name: str) -> str:
    return f"salt/orchestrate/{name}.sls"
