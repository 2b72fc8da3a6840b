"""Rotation while the platform works: nobody notices, and a crash leaves one credential."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.lab.killed_master import crash_through
from tests.lab.traffic import PYTHON, Traffic, nothing_failed
from tests.told import tell
from voip_stack.events import locks
from voip_stack.master import client, daemon
from voip_stack.paths import master_dir
from voip_stack.rotation import credentials
from voip_stack.up.run import wait_for_minions

TOLD = "secrets rotated under calls"
HERE = Path(__file__).parent
PAIRS = HERE / "credential_pairs.py"
TAKEN = HERE / "credentials_taken.py"
# What a started master may take until a rotation is at its next step, on a busy machine.
STEP_S = 150
SALT_RUN = str(Path(sys.executable).with_name("salt-run"))


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


def test_every_secret_in_a_row_and_nobody_notices(provider, pillar, compiled, one_is_valid):
    before = client.runner("voip_rotation.survey")
    assert {item["name"] for item in before} == set(credentials.KINDS)
    with Traffic(provider, pillar, compiled) as traffic:
        started = time.time()
        done = subprocess.run(orchestrate(force=True), capture_output=True, text=True, timeout=150)
        assert done.returncode == 0, done.stdout[-3000:]
        took_s = time.time() - started
        report = traffic.report()
    tell(TOLD, f"{len(before)} secrets in {took_s:.0f} s; {nothing_failed(report)}")
    # The pooler went from one login to the other, on a connection that stayed.
    assert len(report["queries"]["users"]) == 2
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


# One of each kind of server: redis goes the way of callstore, and has no clients to move; ari that
# of ami, through the same states.
@pytest.mark.parametrize("name", ["postgresql", "callstore", "ami"])
def test_killed_at_each_step_it_goes_on(name, provider, pillar, compiled, one_is_valid, eventually):
    """kill -9 of the master while each step runs: started again, it goes on by itself."""
    # Where several hosts have one, the last: the proxy's Redis is the one that the load uses.
    host = [i["host"] for i in client.runner("voip_rotation.survey") if i["name"] == name][-1]
    crashes = list(jobs_of(credentials.KINDS[name]))
    with Traffic(provider, pillar, compiled) as traffic:
        began = time.monotonic()
        try:
            wanted = orchestrate(hosts=[host], secrets=[name], force=True)
            crash_through(wanted, crashes, STEP_S)
        finally:
            daemon.start()
            wait_for_minions(pillar, lambda _: None)
        eventually(lambda: set(phases().values()) == {"stable"}, 90, 1)
        took_s = time.monotonic() - began
        said = nothing_failed(traffic.report())
    one_is_valid(host, name)
    tell(TOLD, f"{name}: {len(crashes)} crashes in one rotation of {took_s:.0f} s; {said}")


def jobs_of(kind):
    """(function, argument) of a job of each step that the code declares, as it is published."""
    for step, phase in credentials.STEPS:
        if step in ("accept", "revoke"):
            yield "state.sls", kind.accept
        elif step == "move":
            yield from (("state.sls", sls) for sls in kind.clients.values())
        elif step.startswith("prove"):
            yield "voip_rotation.prove", phase
        else:
            yield "voip_rotation.advance", step
