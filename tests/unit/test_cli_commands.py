"""The command line: help, errors, exit codes, what goes to standard output."""

import os
import signal
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from voip_stack.cli import COMMANDS, app
from voip_stack.cli.guard import guarded
from voip_stack.pillar import PillarError, PillarProblem
from voip_stack.problem import Problem

runner = CliRunner()


@pytest.fixture(autouse=True)
def state_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("VOIP_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("VOIP_DEBUG", raising=False)


def invoke(function, *words):
    small = typer.Typer(pretty_exceptions_enable=False)
    small.command()(guarded(function))
    return runner.invoke(small, list(words))


@pytest.mark.parametrize("name", [command[0] for command in COMMANDS])
def test_every_command_has_help_with_examples(name):
    result = runner.invoke(app, [name, "--help"])
    assert result.exit_code == 0
    assert "Example" in result.stdout
    assert f"./voip {name}" in result.stdout


def test_help_documents_the_exit_codes():
    result = runner.invoke(app, ["--help"])
    for code in ("0", "1", "2", "3", "4", "130"):
        assert f"\n  {code} ".replace("\n  ", "  ") in result.stdout


def test_version_names_salt():
    result = runner.invoke(app, ["--version"])
    assert result.exit_code == 0
    assert "Salt 3008" in result.stdout


def test_unknown_command_is_wrong_usage():
    assert runner.invoke(app, ["upp"]).exit_code == 2


def test_unknown_host_lists_the_known_ones():
    result = runner.invoke(app, ["logs", "sip-9"])
    assert result.exit_code == 1
    assert "There is no host sip-9" in result.stderr
    assert "sip-1" in result.stderr
    assert result.stdout == ""


def test_salt_without_a_master_says_what_to_do():
    result = runner.invoke(app, ["salt", "*", "test.ping"])
    assert result.exit_code == 1
    assert "to do: ./voip up" in result.stderr


def test_destroy_asks_and_refuses_without_a_terminal():
    result = runner.invoke(app, ["destroy"])
    assert result.exit_code == 1
    assert "--yes" in result.stderr


def test_problem_is_three_lines_and_its_code():
    def command():
        raise Problem("The disk is full", "/var", "free some space", code=3)

    result = invoke(command)
    assert result.exit_code == 3
    assert result.stderr == "voip: The disk is full\n  where: /var\n  to do: free some space\n"


def test_debugging_lets_the_traceback_through(monkeypatch):
    def command():
        raise Problem("The disk is full")

    monkeypatch.setenv("VOIP_DEBUG", "1")
    assert isinstance(invoke(command).exception, Problem)


def test_unforeseen_errors_are_not_swallowed():
    def command():
        raise ZeroDivisionError

    assert isinstance(invoke(command).exception, ZeroDivisionError)


def test_refused_pillar_has_its_own_code():
    def command():
        raise PillarError(
            [PillarProblem("topology.yaml", 7, "hosts.sip-1.os", "bookworm expected")]
        )

    result = invoke(command)
    assert result.exit_code == 4
    assert "pillar/topology.yaml:7: hosts.sip-1.os: bookworm expected" in result.stderr
    assert "no host was touched" in result.stderr


def test_interrupt_is_130_and_says_how_to_go_on():
    def command():
        raise KeyboardInterrupt

    result = invoke(command)
    assert result.exit_code == 130
    assert "run the same command to go on" in result.stderr


def test_help_imports_neither_salt_nor_pydantic():
    program = (
        "import sys\n"
        "from voip_stack.cli import app\n"
        "sys.exit(', '.join({'salt.client', 'pydantic', 'rich.live'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_terminated_run_unwinds():
    program = (
        "import sys, time\n"
        "sys.argv = ['voip', 'x']\n"
        "from voip_stack import cli\n"
        "def wait():\n"
        "    try:\n"
        "        print('ready', flush=True); time.sleep(60)\n"
        "    finally:\n"
        "        print('unwound', flush=True)\n"
        "cli.app.command('x')(wait)\n"
        "cli.main()\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "ready\n"
    os.kill(child.pid, signal.SIGTERM)
    assert child.stdout.read() == "unwound\n"
    assert child.wait(timeout=10) == 143
