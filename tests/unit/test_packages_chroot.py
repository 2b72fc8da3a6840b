"""Commands of a build: what is said when one fails, and that an interruption ends them."""

import threading
import time

import pytest

from voip_stack.packages import chroot
from voip_stack.problem import Problem


def test_failure_names_the_log_and_the_end_of_it(tmp_path):
    log = tmp_path / "logs" / "build.log"
    with pytest.raises(Problem) as failed:
        chroot.run_logged(["sh", "-c", "echo no rule to make; exit 7"], log, "Building thing")
    assert "Building thing failed (exit code 7):\nno rule to make" in str(failed.value)
    assert f"full log: {log}" in str(failed.value)
    assert log.read_text() == "== Building thing\nno rule to make\n"


def test_failed_download_names_the_uri(tmp_path):
    said = "E: Failed to fetch http://mirror.test/x.deb  404  Not Found"
    with pytest.raises(Problem, match="did not deliver") as failed:
        chroot.run_logged(["sh", "-c", f"echo '{said}'; exit 100"], tmp_path / "log", "Fetching")
    assert failed.value.where == "http://mirror.test/x.deb"


def test_interruption_ends_what_runs_and_lets_nothing_begin(tmp_path):
    failures = []

    def work():
        try:
            chroot.run_logged(["sleep", "60"], tmp_path / "log", "Waiting")
        except Problem as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    started = time.monotonic()
    try:
        thread.start()
        while not chroot.RUNNING._processes:
            assert time.monotonic() - started < 10
            time.sleep(0.01)
        chroot.RUNNING.stop()
        thread.join(10)
        assert not thread.is_alive()
        assert "exit code -9" in str(failures[0])
        with pytest.raises(Problem, match="Interrupted"):
            chroot.run_logged(["true"], tmp_path / "log", "Going on")
    finally:
        chroot.RUNNING.reset()
    chroot.run_logged(["true"], tmp_path / "log", "Going on")


@pytest.mark.parametrize(
    ("system", "user", "said"),
    [("Darwin", 501, "needs Linux"), ("Linux", 1000, "needs root")],
)
def test_where_nothing_can_be_built(monkeypatch, system, user, said):
    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr("os.geteuid", lambda: user)
    assert said in chroot.unavailable()
