"""The master as `up` starts it, and a real minion with a key made beforehand."""

import subprocess
import time

import pytest

from tests.integration.daemons import master_of, start_minion, stop
from voip_stack import paths
from voip_stack.master import client, daemon, keys
from voip_stack.problem import Problem


@pytest.fixture(scope="module")
def master(tmp_path_factory):
    """A running master on the loopback with free ports; its state directory is temporary."""
    with master_of(["sip-1"], tmp_path_factory.mktemp("state")) as ports:
        yield ports


@pytest.fixture(scope="module")
def minion(master, tmp_path_factory):
    """The accepted minion sip-1, answering."""
    home = tmp_path_factory.mktemp("minion")
    process = start_minion(home, "sip-1", master, keys.ensure_minion("sip-1"))
    missing = client.ping(["sip-1"], 40)
    yield process
    stop(process)
    assert missing == [], (home / "out").read_text()


def test_it_runs_once(master):
    assert daemon.is_running()
    assert daemon.start() is False


def test_a_function_answers_by_name(minion):
    assert client.call("sip-1", "test.echo", "hello", timeout_s=15) == "hello"


def test_a_failing_function_gives_its_own_words(minion):
    with pytest.raises(Problem, match=r"test\.exception failed on sip-1: .*boom") as caught:
        client.call("sip-1", "test.exception", "boom", timeout_s=15)
    assert "Traceback" not in str(caught.value)


def test_a_host_without_a_minion_is_silent_not_waited_for(minion):
    started = time.monotonic()
    job = client.run(["sip-1", "pbx-1"], "test.ping", deadline_s=3)
    assert job.returns == {"sip-1": True}
    assert job.silent == ["pbx-1"]
    assert time.monotonic() - started < 10


def test_progress_names_each_state(minion):
    said = []
    job = client.run(
        ["sip-1"],
        "state.template_str",
        ["First thing:\n  test.nop\nSecond thing:\n  test.nop"],
        {"state_events": True},
        progress=said.append,
    )
    assert set(job.returns) == {"sip-1"}
    assert "sip-1 answered" in said


def test_states_see_the_compiled_pillar(minion):
    template = "The host {{ pillar['voip']['self']['name'] }}:\n  test.nop"
    returned = client.run(["sip-1"], "state.template_str", [template]).returns["sip-1"]
    assert [state["__id__"] for state in returned.values()] == ["The host sip-1"]


def test_a_key_nobody_made_is_refused(master, tmp_path, monkeypatch):
    """A stranger with a name of the topology but its own key gets no job, accepted or not."""
    genuine = keys.ensure_master()
    with monkeypatch.context() as patch:
        patch.setenv("VOIP_STATE_DIR", str(tmp_path / "elsewhere"))
        foreign = keys.ensure_minion("media-1")
    pair = keys.MinionKeys(foreign.private, foreign.public, genuine)
    (tmp_path / "home").mkdir()
    process = start_minion(tmp_path / "home", "media-1", master, pair)
    try:
        deadline = time.monotonic() + 20
        pending = keys.pki_dir() / "minions_pre" / "media-1"
        while not pending.exists():
            assert time.monotonic() < deadline, (tmp_path / "home/out").read_text()
            time.sleep(0.2)
        assert client.ping(["media-1"], 3) == ["media-1"]
        assert keys.accepted() == ["sip-1"]
    finally:
        stop(process)


def test_salt_command_works_by_the_saltfile(minion):
    """`voip salt` is Salt's own command with this checkout's master."""
    command = [str(paths.checkout() / "voip"), "salt", "sip-1", "test.ping", "--out=txt"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "sip-1: True", done.stderr
