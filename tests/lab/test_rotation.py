"""Rotation while the platform works: nobody notices, and a crash leaves one credential."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.lab.killed_master import in_background, kill_master
from tests.lab.salt_bus import NoSuchJobError, await_job, listening
from tests.lab.traffic import PYTHON, Traffic, await_call, nothing_failed
from voip_stack.events import locks
from voip_stack.master import client, daemon
from voip_stack.paths import master_dir
from voip_stack.rotation import credentials
from voip_stack.up.run import wait_for_minions

HERE = Path(__file__).parent
PAIRS = HERE / "credential_pairs.py"
TAKEN = HERE / "credentials_taken.py"
SALT_RUN = str(Path(sys.executable).with_name("salt-run"))
# Where the master is killed: a job that has just been published, by its function and argument.
OFFER = ("voip_rotation.advance", "offer")
CRASHES = [
    ("state.sls", "postgresql.databases"),
    ("voip_rotation.prove", "offered"),
    ("voip_rotation.advance", "switch"),
    ("state.sls", "pgbouncer"),
    ("voip_rotation.advance", "retire"),
    ("state.sls", "postgresql.databases"),
    ("voip_rotation.prove", "revoking"),
    ("voip_rotation.advance", "finish"),
]
# The held call lasts longer than all of them on a busy machine.
CRASHES_S = 150


class Pairs(list):
    """Credentials that a failing test does not show."""

    def __repr__(self):
        return f"<{len(self)} credentials>"


@pytest.fixture
def one_is_valid(provider):
    """one_is_valid("sip-1", "postgresql"): of all pairs that it had, the newest alone works."""

    def check(host, name, at_least=2):
        path = f"hosts/{host}/{name}"
        provider.put("devstack", "/run/credential_pairs.py", PAIRS.read_bytes())
        told = provider.run("devstack", [PYTHON, "/run/credential_pairs.py", path], timeout=60)
        pairs = Pairs(json.loads(told.stdout)["pairs"])
        assert len(pairs) >= at_least
        provider.put(host, "/run/credentials_taken.py", TAKEN.read_bytes())
        taken = provider.run(
            host,
            [PYTHON, "/run/credentials_taken.py", credentials.KINDS[name].takes],
            stdin=json.dumps(pairs).encode(),
            timeout=60,
        )
        assert json.loads(taken.stdout) == [True] + [False] * (len(pairs) - 1), path

    return check


def orchestrate(**wanted):
    """salt-run state.orchestrate orch.rotate, by the name that people know."""
    argv = [SALT_RUN, "-c", str(master_dir()), "--out=json", "state.orchestrate", "orch.rotate"]
    return [*argv, f"pillar={json.dumps({'rotate': wanted})}"]


def phases():
    return {
        f"{item['host']}/{item['name']}": item["phase"]
        for item in client.runner("voip_rotation.survey")
    }


def test_every_secret_in_a_row_and_nobody_notices(provider, pillar, compiled, salt, one_is_valid):
    before = client.runner("voip_rotation.survey")
    with Traffic(provider, pillar, compiled, call_s=75) as traffic:
        await_call(salt)
        started = time.time()
        done = subprocess.run(orchestrate(force=True), capture_output=True, text=True, timeout=150)
        assert done.returncode == 0, done.stdout[-3000:]
        took_s = time.time() - started
        report = traffic.report()
    nothing_failed(report)
    # The pooler went from one login to the other, on a connection that stayed.
    assert len(report["queries"]["users"]) == 2
    print(
        f"{len(before)} secrets in {took_s:.0f} s; 0 failures of "
        f"{report['registrations']['done']} registrations, {report['queries']['done']} queries "
        f"(longest {report['queries']['longest_ms']:.0f} ms), {report['logins']['done']} log-ins, "
        f"1 held call"
    )
    after = {(item["host"], item["name"]): item for item in client.runner("voip_rotation.survey")}
    for item in before:
        now = after[item["host"], item["name"]]
        assert now["phase"] == "stable"
        assert now["age_s"] < took_s + 120
        one_is_valid(item["host"], item["name"])
    changed = client.apply(pillar.minions())
    for host, states in changed.returns.items():
        assert not [state for state in states.values() if state["changes"]], host


def test_a_second_one_is_refused():
    before = phases()
    with locks.one_at_a_time("rotation"):
        second = subprocess.run(orchestrate(force=True), capture_output=True, text=True, timeout=60)
    assert second.returncode != 0
    assert "another rotation is running" in second.stdout + second.stderr
    assert phases() == before


def test_killed_at_each_step_it_goes_on(provider, pillar, compiled, salt, one_is_valid, eventually):
    """kill -9 of the master while each step runs: started again, it goes on by itself."""
    wanted = {"hosts": ["sip-1"], "secrets": ["postgresql"], "force": True}
    with Traffic(provider, pillar, compiled, call_s=CRASHES_S) as traffic:
        await_call(salt)
        started = time.monotonic()
        try:
            with listening() as bus, in_background(orchestrate(**wanted)):
                await_job(bus, *OFFER)
                kill_master()
            for crash in CRASHES:
                daemon.start()
                with listening() as bus, contextlib.ExitStack() as stack:
                    try:
                        await_job(bus, *crash, deadline_s=25)
                    except NoSuchJobError:
                        # The first crash was before the job left: nothing had begun.
                        stack.enter_context(in_background(orchestrate(**wanted)))
                        await_job(bus, *crash)
                    kill_master()
        finally:
            daemon.start()
            wait_for_minions(pillar, lambda _: None)
        eventually(lambda: set(phases().values()) == {"stable"}, 90, 2)
        took_s = time.monotonic() - started
        report = traffic.report()
    nothing_failed(report)
    one_is_valid("sip-1", "postgresql")
    print(
        f"{len(CRASHES) + 1} crashes in one rotation of {took_s:.0f} s; 0 failures of "
        f"{report['registrations']['done']} registrations, {report['queries']['done']} queries, "
        f"{report['logins']['done']} log-ins, 1 held call"
    )
