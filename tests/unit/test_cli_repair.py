"""`./voip incidents`, `./voip maintenance` and the bench's option."""

import json

import pytest
from typer.testing import CliRunner

from voip_stack.cli import app
from voip_stack.cli.duration import seconds
from voip_stack.events import record
from voip_stack.problem import Problem
from voip_stack.repair import state
from voip_stack.repair.incidents import Incident

runner = CliRunner()


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    monkeypatch.setenv("VOIP_STATE_DIR", str(tmp_path))


def run(*words):
    return runner.invoke(app, list(words))


@pytest.mark.parametrize(
    ("text", "expected"), [("90s", 90), ("30m", 1800), ("12h", 43200), ("7d", 604800)]
)
def test_durations(text, expected):
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "30", "m", "-5m", "1.5h", "0m", "1w"])
def test_what_is_no_duration(text):
    with pytest.raises(Problem, match="no duration"):
        seconds(text)


def test_incidents_with_alerts_and_security_events():
    incident = Incident("sip-1", "kamailio", "sip: no answer", "health beacon")
    incident.done.append("killed")
    incident.keep_evidence("what it showed")
    incident.write()
    incident.close("repaired", "18 of 18 processes are stopped")
    record.append("alerts", {"kind": "service/degraded", "host": "pbx-1", "detail": "asterisk"})
    record.append("security", {"kind": "event/forged", "host": "sip-1", "detail": "who knows"})
    shown = run("incidents").stdout
    for word in (incident.id, "repaired", "service/degraded", "event/forged", "killed"):
        assert word in shown
    found = json.loads(run("incidents", "--json", "--host", "sip-1", "--since", "1h").stdout)
    assert {kind: len(entries) for kind, entries in found.items()} == {
        "incidents": 1, "alerts": 0, "security": 1,
    }  # fmt: skip
    assert found["incidents"][0]["outcome"] == "repaired"
    assert "what it showed" in run("incidents", "--evidence", incident.id).stdout
    assert run("incidents", "--evidence", "../../repair").exit_code == 1


def test_nothing_happened():
    assert "Nothing happened" in run("incidents").stdout


def test_clear_takes_a_service_that_is_probed():
    state.degrade("sip-1", "kamailio", "flapping")
    assert run("incidents", "--clear", "sip-1/sshd").exit_code == 2
    assert "no longer degraded" in run("incidents", "--clear", "sip-1/kamailio").stdout
    assert state.degraded() == {}


def test_maintenance_begins_is_listed_and_ends():
    done = run("maintenance", "sip-1", "--for", "30m", "--reason", "kernel")
    assert "sip-1: maintenance until" in done.stdout
    assert "kernel" in done.stdout
    assert json.loads(run("maintenance", "--json").stdout)["sip-1"]["reason"] == "kernel"
    assert "repaired again" in run("maintenance", "sip-1", "--end").stdout
    assert "No host" in run("maintenance").stdout


@pytest.mark.parametrize(
    "words",
    [
        ["sip-1"],
        ["sip-1", "--for", "30m", "--end"],
        ["sip-1", "--for", "31d"],
        ["sip-9", "--for", "30m"],
        ["--for", "30m"],
        ["--end"],
    ],
)
def test_maintenance_refuses(words):
    assert run("maintenance", *words).exit_code != 0
    assert state.maintenance() == {}


def test_an_option_of_another_bench_is_refused():
    done = run("bench", "apply", "--service", "kamailio")
    assert done.exit_code == 2
    assert "no option --service" in done.stderr
