"""Salt's part of `up`: events become progress and results, failures name state, host, message."""

import json
from types import SimpleNamespace

import pytest

from voip_stack.problem import Problem
from voip_stack.up import converge
from voip_stack.up.converge import Run, take

FINE = {"__id__": "Install it", "__sls__": "base", "result": True, "changes": {}, "duration": 1.0}
FAILED = FINE | {"__id__": "Start it", "__sls__": "kamailio.running", "result": False,
                 "comment": "the unit failed"}  # fmt: skip


@pytest.fixture
def step():
    """A step that remembers what was said and logged."""
    said, logged = [], []
    return SimpleNamespace(say=said.append, said=said, steps=SimpleNamespace(log=logged.append))


def event(kind, host=None, **data):
    tag = f"salt/job/2030/{kind}" + (f"/{host}" if host else "")
    return tag.split("/"), data


def returned(host, *states):
    run = {f"pkg_|-{index}_|-x_|-y": state for index, state in enumerate(states)}
    return event("ret", host, fun="state.highstate", **{"return": run})


def orchestration(**states):
    body = {f"salt_|-{name}_|-x_|-y": state for name, state in states.items()}
    return json.dumps({"data": {"voip_master": body}})


def test_progress_says_who_is_waited_for(step):
    run = Run()
    take(*event("new", fun="state.highstate", minions=["sip-1", "media-1"]), run, step)
    take(*returned("media-1", FINE), run, step)
    take(*returned("sip-1", FINE, FAILED), run, step)
    assert step.said == [
        "state.highstate on media-1, sip-1",
        "media-1: 1 states, 0 changed; waiting for sip-1",
        "sip-1: 2 states, 0 changed, 1 failed",
    ]


def test_other_functions_and_the_orchestration_itself_are_no_host_results(step):
    run = Run()
    take(*event("ret", "sip-1", fun="test.ping", **{"return": True}), run, step)
    take(*event("ret", "voip_master", fun="state.highstate", **{"return": {}}), run, step)
    take(*event("publish", fun="state.highstate"), run, step)
    assert run.hosts == {}


def test_failed_state_is_named(step):
    run = Run()
    take(*returned("sip-1", FAILED), run, step)
    with pytest.raises(Problem) as caught:
        converge._judge(run, orchestration(a=FAILED), step)
    text = str(caught.value)
    for expected in ("1 state failed", "sip-1", "Start it", "the unit failed", "./voip up"):
        assert expected in text


def test_failed_orchestration_step_is_named_by_its_cause(step):
    cause = FINE | {"__id__": "Adopt the root CA", "__sls__": "orchestrate.up", "result": False,
                    "comment": "devstack has no root CA"}  # fmt: skip
    after = cause | {"__id__": "Go on", "comment": "One or more requisite failed: x"}
    with pytest.raises(Problem, match="Adopt the root CA: devstack has no root CA") as caught:
        converge._judge(Run(), orchestration(a=after, b=cause), step)
    assert caught.value.where == "salt/orchestrate/up.sls"


def test_orchestration_that_did_not_run_shows_its_output(step):
    with pytest.raises(Problem, match="No matching sls found"):
        converge._judge(Run(), "No matching sls found", step)


def test_all_well_is_no_problem(step):
    converge._judge(Run(), orchestration(a=FINE), step)
