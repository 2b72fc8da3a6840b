"""`./voip test`: which tests are chosen, what goes to pytest, and what a missing lab costs."""

from types import SimpleNamespace

import pytest

from voip_stack import testing
from voip_stack.problem import Problem
from voip_stack.testing import KINDS, Selection, select

WITHOUT_LAB = tuple(kind for kind in KINDS if kind not in ("kernel", "lab"))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], Selection(KINDS, False, ())),
        ([*KINDS], Selection(KINDS, False, ())),
        (["--no-lab"], Selection(WITHOUT_LAB, True, ())),
        (["unit"], Selection(("unit",), False, ())),
        (["render", "unit", "-q"], Selection(("unit", "render"), False, ("-q",))),
        (["kernel"], Selection(("kernel",), False, ())),
        (["lab", "-k", "firewall"], Selection(("lab",), False, ("-k", "firewall"))),
        (["lab", "--", "-x"], Selection(("lab",), False, ("-x",))),
        (["-x", "--no-lab"], Selection(WITHOUT_LAB, True, ("-x",))),
        (["unit", "tests/unit/x.py"], Selection(("unit",), False, ("tests/unit/x.py",))),
    ],
)  # fmt: skip
def test_select(words, expected):
    assert select(words) == expected


@pytest.mark.parametrize("words", [["units"], ["unit", "labs"], ["all"]])
def test_unknown_kind_is_wrong_usage(words):
    with pytest.raises(Problem, match=f"no kind of test {words[-1]}") as caught:
        select(words)
    assert caught.value.code == 2


@pytest.mark.parametrize(
    ("words", "is_beside"),
    [
        ([], True),
        (["unit"], True),
        (["kernel", "lab"], True),
        (["lab", "-k", "firewall"], False),
        (["kernel"], False),
        (["tests/unit/x.py"], False),
    ],
)
def test_two_processes_where_there_is_work_for_two(monkeypatch, words, is_beside):
    argvs = []
    monkeypatch.setattr(
        testing.subprocess,
        "run",
        lambda argv, **_: argvs.append(argv) or SimpleNamespace(returncode=0),
    )
    assert testing.run(words, lab=nothing_lacks, qemu=nothing_lacks) == 0
    assert ("-n" in argvs[0]) == is_beside


def test_what_is_named_stands_for_itself():
    assert select(["-x", "tests/unit/x.py::test_y"]).named == ("tests/unit/x.py::test_y",)
    assert select(["lab", "-k", "firewall"]).named == ()


@pytest.fixture
def pytest_runs(monkeypatch):
    """Record what pytest would have been given; its exit code is 0."""
    calls = []
    monkeypatch.setattr(
        testing, "_pytest", lambda selection: calls.append((selection.kinds, selection.rest)) or 0
    )
    return calls


@pytest.fixture(autouse=True)
def made_beforehand(monkeypatch):
    """Programs that were started beside pytest."""
    programs = []

    class Maker:
        def __init__(self, argv, cwd):
            programs.append(argv[-1])

        __enter__ = lambda self: self  # noqa: E731
        __exit__ = lambda self, *error: None  # noqa: E731

        def terminate(self):
            programs.append("terminated")

    monkeypatch.setattr(testing.subprocess, "Popen", Maker)
    return programs


def no_lab():
    raise Problem("This machine cannot hold a lab", "no root")


def no_qemu():
    raise Problem("This machine lacks qemu-system-x86")


def nothing_lacks():
    pass


def test_missing_lab_runs_the_rest_and_fails(pytest_runs, capsys):
    assert testing.run([*KINDS], lab=no_lab, qemu=nothing_lacks) == 1
    assert pytest_runs == [(KINDS[:-1], ())]
    assert "cannot hold a lab" in capsys.readouterr().err


def test_missing_qemu_runs_the_rest_and_fails(pytest_runs, made_beforehand, capsys):
    assert testing.run([], lab=nothing_lacks, qemu=no_qemu) == 1
    assert pytest_runs == [(tuple(kind for kind in KINDS if kind != "kernel"), ())]
    assert "lacks qemu" in capsys.readouterr().err
    assert made_beforehand == []


def test_only_the_kernel_but_no_qemu(pytest_runs):
    assert testing.run(["kernel"], qemu=no_qemu) == 1
    assert pytest_runs == []


def test_declined_lab_is_no_failure(pytest_runs):
    assert testing.run(["--no-lab"], lab=no_lab, qemu=no_qemu) == 0
    assert pytest_runs == [(WITHOUT_LAB, ())]


def test_only_the_lab_but_none_to_be_had(pytest_runs):
    assert testing.run(["lab"], lab=no_lab) == 1
    assert pytest_runs == []


def test_unit_tests_need_no_lab(pytest_runs):
    assert testing.run(["unit"], lab=no_lab) == 0


@pytest.mark.parametrize(
    ("words", "is_made"),
    [
        (["unit", "kernel"], True),
        ([], True),
        (["kernel"], False),  # it would be waited for at once
        (["unit"], False),
        (["tests/unit/x.py"], False),
    ],
)
def test_the_kernel_image_is_made_beside_other_tests(pytest_runs, made_beforehand, words, is_made):
    testing.run(words, lab=nothing_lacks, qemu=nothing_lacks)
    expected = ["voip_stack.vm.prepare", "terminated"] if is_made else []
    assert made_beforehand == expected


def test_failing_tests_keep_their_code(monkeypatch):
    monkeypatch.setattr(testing, "_pytest", lambda selection: 2)
    assert testing.run(["unit"]) == 2
