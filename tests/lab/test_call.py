"""Real calls through the lab, by the command that a user types."""

import json
import os
import signal
import subprocess
import time

import pytest

from voip_stack import paths
from voip_stack.cli.hosts import provider_of
from voip_stack.pillar.components import PROXIES

SUITE = "AES_CM_128_HMAC_SHA1_80"
DEADLINE_S = 60
FINISHED_S = 30  # far from the time-outs, on a machine that tests something else beside it


def voip_call(*arguments, code=0):
    """Run `./voip call ... --json`; its report. Fails when the exit code is another one."""
    argv = [str(paths.checkout() / "voip"), "call", *arguments, "--json"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=DEADLINE_S * 3)
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout)


def outside(*argv):
    return provider_of().run("client-1", list(argv)).stdout.decode()


def nothing_left():
    """No user agent, no directory of one in the outside guest."""
    script = "pgrep -x baresip; ls -d /dev/shm/voip-call-* 2>/dev/null; true"
    return outside("sh", "-c", script).strip() == ""


def verify(report, codec):
    assert report["ok"], report
    assert 0 < report["setup_ms"] < 3000
    for way in ("a_to_b", "b_to_a"):
        heard = report["audio"][way]
        assert heard["ok"]
        assert heard["share"] > 0.9
        assert heard["present_s"] >= 0.95 * heard["expected_s"]
    for leg in report["legs"]:
        assert leg["tls"] in ("TLSv1.2", "TLSv1.3")
        assert leg["cipher"]
        assert leg["srtp"] == SUITE
        assert leg["codec"] == codec
        assert leg["packets"] > 100
        assert leg["lost"] == 0


@pytest.mark.parametrize("codec", ["PCMA", "PCMU", "G722"])
def test_two_subscribers_hear_each_other(codec):
    started = time.monotonic()
    report = voip_call("1001", "1002", "--codec", codec)
    assert time.monotonic() - started < FINISHED_S
    verify(report, codec)
    assert report["answered_by"] == "1002"
    assert report["ring_ms"] <= report["setup_ms"]
    assert report["audio"]["a_to_b"]["tone_hz"] != report["audio"]["b_to_a"]["tone_hz"]
    assert [leg["signalling"] for leg in report["legs"]] == [
        ["1001", "sip-1"],
        ["sip-1", "pbx-1"],
        ["pbx-1", "sip-1"],
        ["sip-1", "1002"],
    ]
    assert nothing_left()


@pytest.mark.parametrize("proxy", PROXIES)
def test_the_other_way_round_by_each_proxy(proxy):
    verify(voip_call("1002", "1001", "--duration", "2", "--proxy", proxy), "PCMA")


def test_the_echo_comes_back():
    report = voip_call("1001", "*43")
    verify(report, "PCMA")
    assert report["answered_by"].startswith("*43")
    assert len(report["legs"]) == 2


@pytest.mark.parametrize(
    ("arguments", "codes", "step"),
    [
        (["1001", "1002", "--wrong-password"], (401, 403), "register 1001"),
        (["1001", "1999"], (404,), "call"),
        (["1001", "5550199"], (404,), "call"),
        (["1001", "1003", "--callee-offline"], (480,), "call"),
        (["1001", "1002", "--callee-busy"], (486,), "answer"),
    ],
    ids=["wrong password", "unknown number", "outside the plan", "unregistered", "busy"],
)
def test_a_call_that_must_fail_says_how(arguments, codes, step):
    report = voip_call(*arguments, code=1)
    assert report["ok"] is False
    assert report["failed"]["sip_code"] in codes, report["failed"]
    assert report["failed"]["step"] == step
    assert report["audio"] == {"a_to_b": None, "b_to_a": None}
    assert nothing_left()


def test_ten_calls_in_a_row():
    report = voip_call("1001", "1002", "--count", "10", "--duration", "1.5")
    assert (report["count"], report["verified"]) == (10, 10)
    for one in report["calls"]:
        assert one["ok"]
        assert sum(leg["lost"] for leg in one["legs"]) == 0
    assert len({one["call_ids"][0] for one in report["calls"]}) == 10


def test_recordings_are_kept_where_asked(tmp_path):
    report = voip_call("1001", "1002", "--duration", "1", "--keep", str(tmp_path))
    assert len(report["recordings"]) == 2
    for path in report["recordings"]:
        with open(path, "rb") as file:
            assert file.read(4) == b"RIFF"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_call_leaves_nothing(number):
    argv = [str(paths.checkout() / "voip"), "call", "1001", "1002", "--duration", "60"]
    process = subprocess.Popen(
        argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        until(lambda: outside("sh", "-c", "pgrep -cx baresip; true").strip() == "2")
        os.kill(process.pid, number)
        assert process.wait(DEADLINE_S) != 0
        until(nothing_left)
    finally:
        process.kill()
        process.wait()


def test_a_stopped_pbx_is_told_and_the_next_call_works():
    provider = provider_of()
    provider.run("pbx-1", ["systemctl", "stop", "asterisk"])
    try:
        report = voip_call("1001", "1002", code=1)
        assert report["failed"]["sip_code"] == 503, report["failed"]
    finally:
        provider.run("pbx-1", ["systemctl", "start", "asterisk"])
    until(lambda: _is_verified("1001", "1002", "--duration", "1"))


def _is_verified(*arguments):
    argv = [str(paths.checkout() / "voip"), "call", *arguments, "--json"]
    return subprocess.run(argv, capture_output=True, timeout=DEADLINE_S).returncode == 0


def until(condition, deadline_s=DEADLINE_S):
    """Poll until the condition holds; fails at the deadline."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"not within {deadline_s} s"
        time.sleep(0.1)
