"""`bench subscribers`: what it takes for done, and memory of a family of processes."""

import json
import os
import subprocess
import sys

import pytest

from voip_stack.bench import memory, pressed, subscribers
from voip_stack.problem import Problem


def test_memory_counts_children():
    grown = "data = bytearray(64 << 20); data[::4096] = b'x' * (64 << 8)"
    child = f"import subprocess, sys; {grown}; print(flush=True); sys.stdin.read()"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with subprocess.Popen(
        [sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        assert len(memory.family(process.pid)) == 2
        found = memory.watch(process.pid, lambda seconds: True)
        process.stdin.close()
    assert 64 < found["before"] < 200
    assert found["peak"] >= found["before"]


def test_memory_as_a_program_ends_with_its_input():
    argv = [sys.executable, memory.__file__, str(os.getpid())]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    assert set(json.loads(done.stdout)) == {"before", "peak", "after"}


@pytest.mark.parametrize(
    ("changes", "is_right"),
    [({"added": {"count": 1}}, True), ({"added": {"count": 2}}, False), ({}, False)],
)
def test_a_run_that_did_something_else_is_no_measurement(changes, is_right):
    if is_right:
        subscribers._expect({"changes": changes}, {"added": 1})
        return
    with pytest.raises(Problem, match=r"not \{'added': 1\}"):
        subscribers._expect({"changes": changes}, {"added": 1})


@pytest.mark.parametrize(("code", "answer"), [(0, {"sip-1": {}}), (2, {})])
def test_salt_is_typed(monkeypatch, code, answer):
    def run(command, **kwargs):
        assert command[-2:] == ["sip-1", "state.apply"]
        return subprocess.CompletedProcess(command, code, json.dumps(answer), "it says why")

    monkeypatch.setattr(subprocess, "run", run)
    if code:
        with pytest.raises(Problem, match="it says why"):
            pressed.state_apply("sip-1")
    else:
        seconds, found = pressed.state_apply("sip-1")
        assert found == answer
        assert seconds >= 0
