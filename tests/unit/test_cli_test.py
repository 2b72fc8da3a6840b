"""`./voip test`: which tests are chosen, what goes to pytest, and what a missing lab costs."""

import pytest

from voip_stack import testing
from voip_stack.problem import Problem
from voip_stack.testing import KINDS, Selection, select

WITHOUT_LAB = tuple(kind for kind in KINDS if kind not in ("kernel", "lab"))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], Selection((*WITHOUT_LAB, "lab"), False, ())),
        (["all"], Selection(KINDS, False, ())),
        (["--no-lab"], Selection(WITHOUT_LAB, True, ())),
        (["unit"], Selection(("unit",), False, ())),
        (["kernel"], Selection(("kernel",), False, ())),
        (["lab", "-k", "firewall"], Selection(("lab",), False, ("-k", "firewall"))),
        (["lab", "--", "-x"], Selection(("lab",), False, ("-x",))),
        (["-x", "--no-lab"], Selection(WITHOUT_LAB, True, ("-x",))),
        (["unit", "tests/unit/x.py"], Selection(("unit",), False, ("tests/unit/x.py",))),
    ],
)  # fmt: skip
def test_select(words, expected):
    assert select(words) == expected


def test_unknown_kind_is_wrong_usage():
    with pytest.raises(Problem, match="no kind of test units") as caught:
        select(["units"])
    assert caught.value.code == 2


@pytest.fixture
def pytest_runs(monkeypatch):
    """Record what pytest would have been given; its exit code is 0."""
    calls = []
    monkeypatch.setattr(testing, "_pytest", lambda kinds, rest: calls.append((kinds, rest)) or 0)
    return calls


def no_lab():
    raise Problem("This machine cannot hold a lab", "no root")


@pytest.fixture(autouse=True)
def nothing_is_installed(monkeypatch):
    monkeypatch.setattr(testing, "_qemu", lambda: None)


def no_qemu():
    raise Problem("This machine lacks qemu-system-x86")


def test_missing_lab_runs_the_rest_and_fails(pytest_runs, capsys):
    assert testing.run([], bring_up=no_lab) == 1
    assert pytest_runs == [(WITHOUT_LAB, ())]
    assert "cannot hold a lab" in capsys.readouterr().err


def test_missing_qemu_runs_the_rest_and_fails(pytest_runs, capsys):
    assert testing.run(["all"], bring_up=lambda: None, equip=no_qemu) == 1
    assert pytest_runs == [((*WITHOUT_LAB, "lab"), ())]
    assert "lacks qemu" in capsys.readouterr().err


def test_only_the_kernel_but_no_qemu(pytest_runs):
    assert testing.run(["kernel"], equip=no_qemu) == 1
    assert pytest_runs == []


def test_declined_lab_is_no_failure(pytest_runs):
    assert testing.run(["--no-lab"], bring_up=no_lab) == 0
    assert pytest_runs == [(WITHOUT_LAB, ())]


def test_only_the_lab_but_none_to_be_had(pytest_runs):
    assert testing.run(["lab"], bring_up=no_lab) == 1
    assert pytest_runs == []


def test_unit_tests_need_no_lab(pytest_runs):
    assert testing.run(["unit"], bring_up=no_lab) == 0


def test_failing_tests_keep_their_code(monkeypatch):
    monkeypatch.setattr(testing, "_pytest", lambda kinds, rest: 2)
    assert testing.run(["unit"]) == 2
