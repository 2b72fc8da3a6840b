"""Benches: one shape for all, a table for people, exit codes for scripts."""

import json

import pytest
from typer.testing import CliRunner

from voip_stack import bench
from voip_stack.bench.report import Report, Result, table
from voip_stack.cli import app

runner = CliRunner()


@pytest.fixture
def measured(monkeypatch):
    """Let the bench `apply` return given results."""

    def give(*results):
        monkeypatch.setattr("voip_stack.bench.apply.run", lambda rounds: list(results))

    return give


def test_json_has_the_agreed_shape(measured):
    measured(Result("wall", 7.5, "s", 10), Result("one state", 1.0, "s"))
    result = runner.invoke(app, ["bench", "apply", "--json", "--rounds", "2"])
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {
        "bench": "apply",
        "rounds": 2,
        "results": [
            {"name": "wall", "value": 7.5, "unit": "s", "goal": 10, "met": True},
            {"name": "one state", "value": 1.0, "unit": "s", "goal": None, "met": None},
        ],
    }


@pytest.mark.parametrize(("value", "check", "code"), [(9, True, 0), (11, True, 1), (11, False, 0)])
def test_check_decides_the_exit_code(measured, value, check, code):
    measured(Result("wall", value, "s", 10))
    words = ["bench", "apply", *(["--check"] if check else [])]
    assert runner.invoke(app, words).exit_code == code


@pytest.mark.parametrize(("value", "code"), [(2.9, 1), (3, 0), (7, 0)])
def test_a_goal_may_be_the_least(measured, value, code):
    measured(Result("ratio", value, "", 3, at_least=True))
    result = runner.invoke(app, ["bench", "apply", "--check"])
    assert result.exit_code == code
    assert "≥ 3" in result.stdout


def test_unknown_bench_lists_the_known():
    result = runner.invoke(app, ["bench", "nothing"])
    assert result.exit_code == 2
    assert "apply" in result.stderr


def test_without_a_name_the_benches_are_listed():
    result = runner.invoke(app, ["bench"])
    for name in bench.BENCHES:
        assert name in result.stdout


def test_table_says_what_missed():
    text = table(Report("up", 1, [Result("first", 200.0, "s", 180), Result("step", 3.0, "s")]))
    assert "200.00 s" in text
    assert "180 s" in text
    assert "missed" in text
