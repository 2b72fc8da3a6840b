"""Job returns as numbers and failures."""

import json

import pytest

from voip_stack.master.results import merge, parse, slowest
from voip_stack.up.converge import orchestration_steps

FINE = {
    "__id__": "Install it", "__sls__": "base", "result": True, "changes": {}, "duration": 1500.0,
}  # fmt: skip
CHANGED = FINE | {"__id__": "Write it", "changes": {"diff": "x"}, "duration": "20.5 ms"}
FAILED = FINE | {"__id__": "Start it", "__sls__": "kamailio.running", "result": False,
                 "comment": "the unit failed"}  # fmt: skip
CONSEQUENCE = FAILED | {
    "__id__": "Check it",
    "comment": "One or more requisite failed: kamailio.running.Start it",
}


def run(**states):
    return {f"pkg_|-{name}_|-{name}_|-installed": state for name, state in states.items()}


def test_counts_and_seconds():
    result = parse("sip-1", run(a=FINE, b=CHANGED))
    assert (result.states, result.changed, result.is_ok) == (2, ["Write it"], True)
    assert result.total_s == pytest.approx(1.5205)


def test_failure_names_host_state_file_and_message():
    result = parse("sip-1", run(a=FINE, c=FAILED, d=CONSEQUENCE))
    assert [failure.state_id for failure in result.failures] == ["Start it"]
    text = str(result.failures[0])
    for expected in ("sip-1", "Start it", "salt/kamailio/running", "the unit failed"):
        assert expected in text


def test_test_mode_is_no_failure():
    assert parse("sip-1", run(a=FINE | {"result": None, "changes": {"a": 1}})).is_ok


@pytest.mark.parametrize(
    "returned", [["Pillar failed to render with: bad"], "ERROR: no state", {}, None, False]
)
def test_states_that_did_not_run_are_a_failure(returned):
    result = parse("sip-1", returned)
    assert not result.is_ok
    assert result.states == 0


def test_two_runs_on_a_host_add_up():
    both = merge(parse("a", run(a=CHANGED)), parse("a", run(a=FINE, b=FINE)))
    assert (both.states, len(both.changed)) == (3, 1)


def test_slowest_first():
    results = [parse("a", run(x=FINE)), parse("b", run(y=CHANGED))]
    assert [(host, round(s, 2)) for host, _, s in slowest(results, 5)] == [("a", 1.5), ("b", 0.02)]


def test_orchestration_steps_skip_what_is_printed_around_the_json():
    document = {"data": {"voip_master": {"salt_|-a_|-a_|-state": FAILED}}, "retcode": 1}
    output = f"[WARNING ] x\n{json.dumps(document)}\nunclosed Runner <x>"
    assert list(orchestration_steps(output)) == ["Start it"]


def test_no_json_is_no_steps():
    assert orchestration_steps("Traceback (most recent call last)") == {}
