"""Steps: what is shown and logged, what a failure says, and that two runs exclude each other."""

import io

import pytest
from rich.console import Console

from voip_stack.problem import Problem
from voip_stack.steps import Busy, Steps, elapsed


@pytest.fixture(autouse=True)
def state_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("VOIP_STATE_DIR", str(tmp_path))


@pytest.fixture
def screen():
    return io.StringIO()


@pytest.fixture
def steps(screen):
    with Steps("try", Console(file=screen, width=100)) as steps:
        yield steps


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (9.94, "9.9 s"), (12.4, "12 s"), (185, "3 min 05 s")]
)
def test_elapsed(seconds, text):
    assert elapsed(seconds) == text


def test_finished_step_shows_its_result_and_time(steps, screen):
    with steps.step("Start the guests") as step:
        step.done("5 guests")
    lines = screen.getvalue().splitlines()
    assert lines[0].strip() == "… Start the guests"
    assert lines[1].startswith("✔ Start the guests  5 guests  0.0 s")
    assert [name for name, _ in steps.timings] == ["Start the guests"]


def test_failed_command_shows_its_last_lines_and_the_log(steps, screen):
    with pytest.raises(Problem) as caught, steps.step("Build") as step:
        step.run(["sh", "-c", "echo first; echo the cause >&2; exit 7"], how="mend it")
    text = str(caught.value)
    assert "sh failed (exit 7)" in text
    assert "the cause" in text
    assert "to do: mend it" in text
    assert str(steps.log_path) in text
    assert "✘ Build  failed" in screen.getvalue()


def test_everything_is_in_the_log(steps):
    with steps.step("Build") as step:
        step.say("half")
        step.run(["echo", "a line of output"])
    log = steps.log_path.read_text()
    for expected in ("== Build", "half", "$ echo a line of output", "✔ Build"):
        assert expected in log


def test_markup_in_output_is_text(steps, screen):
    with steps.step("Read [eth0]") as step:
        step.note("[bold]no markup")
    assert "Read [eth0]" in screen.getvalue()
    assert "[bold]no markup" in screen.getvalue()


def test_interrupted_step_says_so(steps, screen):
    with pytest.raises(KeyboardInterrupt), steps.step("Wait"):
        raise KeyboardInterrupt
    assert "✘ Wait  interrupted" in screen.getvalue()


def test_second_run_in_the_checkout_is_refused(steps):
    with pytest.raises(Busy, match="voip try, process"), Steps("up"):
        pass


def test_lock_is_free_after_a_failure():
    with pytest.raises(ValueError, match="boom"), Steps("up"):
        raise ValueError("boom")
    with Steps("up"):
        pass


def test_old_logs_are_forgotten(tmp_path):
    logs = tmp_path / "logs"
    logs.mkdir()
    for number in range(40):
        (logs / f"20200101-0000{number:02}-up.log").touch()
    with Steps("up") as steps:
        assert steps.log_path.exists()
    assert len(list(logs.glob("*-up.log"))) == 30


def test_foreign_state_directory_says_what_to_do(monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(Problem, match="cannot be written by this user"), Steps("up"):
        pass
