"""Self-repair on the running platform: what dies, what hangs, what is left alone, what is given up.

The limits here are functional; how fast it is, `./voip bench repair` says. Every test ends with all
services answering and nothing degraded.
"""

from __future__ import annotations

import json
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.told import tell
from voip_stack import paths
from voip_stack.bench import repair as bench
from voip_stack.events import record
from voip_stack.repair import hosts, incidents, state

TOLD = "killed and hung: each service comes back"
VOIP = str(paths.checkout() / "voip")
KILLED_S, STOPPED_S = 15, 45
SERVICES = [
    ("sip-1", "pgbouncer"),
    ("sip-1", "kamailio"),
    ("sip-1", "opensips"),
    ("sip-1", "location-link"),
    ("media-1", "rtpengine"),
    ("pbx-1", "asterisk"),
    ("devstack", "openbao"),
    ("devstack", "postgresql"),
    ("devstack", "redis"),
    ("devstack", "callstore"),
]
# A media relay that hangs goes to another host before anybody repairs it: test_media_tier.py.
REPAIRED = [item for item in SERVICES if item != ("media-1", "rtpengine")]


def voip(*words):
    return subprocess.run([VOIP, *words], capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(autouse=True)
def well_again(on):
    began = time.time()
    yield began
    for host in {host for host, _ in SERVICES}:
        state.end_maintenance(host)
    for host, service in SERVICES:
        unit = hosts.unit(host, service)
        on(host, "systemctl", "kill", "--signal=CONT", unit)
        on(host, "systemctl", "start", unit)
        hosts.answers(host, service, 60)
        state.forget(host, service)
        state.untell(host, service)


def stop(on, host, service):
    """SIGSTOP to every process of a service."""
    on(host, "systemctl", "kill", "--signal=STOP", hosts.unit(host, service))


def since(began, host, service):
    """The finished incidents of a service."""
    return [
        item
        for item in incidents.read(began)
        if (item["host"], item["service"]) == (host, service) and item["outcome"] != "open"
    ]


def repaired(began, host, service):
    return [item for item in since(began, host, service) if item["outcome"] == "repaired"]


def alerts(began, host):
    return [item["kind"] for item in record.read("alerts", began) if item["host"] == host]


def outages(pillar, provider, signal, limit, services=SERVICES):
    """{service: seconds it was away}, hit one host at a time, hosts side by side."""
    found = {}

    def of(host):
        for where, service in services:
            if where == host:
                done = bench.once(pillar, provider, host, service, signal, "all", limit)
                found[service] = done["outage_s"]

    with ThreadPoolExecutor() as pool:
        list(pool.map(of, sorted({host for host, _ in services})))
    return found


def test_every_daemon_that_is_killed_comes_back(pillar, provider):
    found = outages(pillar, provider, "KILL", KILLED_S)
    tell(TOLD, f"killed, seconds away: {found}")
    assert set(found) == {service for _, service in SERVICES}
    assert None not in found.values(), f"away for more than {KILLED_S} s: {found}"


def test_every_daemon_that_hangs_is_repaired_and_recorded(pillar, provider, well_again):
    found = outages(pillar, provider, "STOP", STOPPED_S, REPAIRED)
    tell(TOLD, f"hung, seconds away: {found}")
    assert None not in found.values(), f"away for more than {STOPPED_S} s: {found}"
    for host, service in REPAIRED:
        done = since(well_again, host, service)
        assert "repaired" in [item["outcome"] for item in done], f"{service}: {done}"
        item = next(item for item in done if item["outcome"] == "repaired")
        assert "killed" in item["done"]
        assert 0 < item["took_s"] < STOPPED_S
        assert (incidents.evidence_dir() / f"{item['id']}.txt").stat().st_mode & 0o077 == 0


def active(on, host, service):
    """systemd's word for a service's unit."""
    unit = hosts.unit(host, service)
    return on(host, "systemctl", "show", "-p", "ActiveState", "--value", unit).strip()


def test_a_service_waits_for_its_database(on, eventually, well_again):
    """PostgreSQL is stopped by an operator: the pooler cannot serve, and is not to blame."""
    unit = hosts.unit("devstack", "postgresql")
    pooler = hosts.unit("sip-1", "pgbouncer")
    before = on("sip-1", "systemctl", "show", "-p", "MainPID", "--value", pooler)
    on("devstack", "systemctl", "stop", unit)
    try:
        eventually(lambda: "service/left" in alerts(well_again, "devstack"), 45, 0.5)
        eventually(lambda: hosts.probe("sip-1", "pgbouncer"), 15, 0.5)
        assert active(on, "devstack", "postgresql") == "inactive"
    finally:
        on("devstack", "systemctl", "start", unit)
    hosts.answers("sip-1", "pgbouncer", 60)
    after = on("sip-1", "systemctl", "show", "-p", "MainPID", "--value", pooler)
    assert (repaired(well_again, "sip-1", "pgbouncer"), after) == ([], before)


def test_what_hangs_together_is_repaired_in_order(on, eventually, well_again):
    """The pooler and its database both hang: the pooler is not touched before the database is well.

    On a busy machine the pooler's turn may come when the database is well already: then there was
    nothing to wait for (the wait itself: tests/unit/test_repair_state.py).
    """
    stop(on, "devstack", "postgresql")
    stop(on, "sip-1", "pgbouncer")

    (pooler,) = eventually(lambda: repaired(well_again, "sip-1", "pgbouncer"), 90, 0.5)
    (database,) = repaired(well_again, "devstack", "postgresql")
    written = [item["time"] for item in record.read("incidents", well_again)
               if item["id"] == pooler["id"]]  # fmt: skip
    assert database["time"] < min(written), (database, pooler)
    hosts.answers("sip-1", "pgbouncer", 10)


def test_what_an_operator_stopped_stays_stopped(on, eventually, well_again, pillar):
    unit = hosts.unit("devstack", "redis")
    on("devstack", "systemctl", "stop", unit)
    eventually(lambda: "service/left" in alerts(well_again, "devstack"), 45, 0.5)
    time.sleep(pillar.repair.repeat_s + 5)  # reported again, looked at again
    assert active(on, "devstack", "redis") == "inactive"
    (incident,) = since(well_again, "devstack", "redis")
    assert (incident["outcome"], incident["done"]) == ("left", [])
    assert alerts(well_again, "devstack") == ["service/left"]
    on("devstack", "systemctl", "start", unit)
    eventually(lambda: not state.is_remembered("devstack", "redis"), 30, 0.5)


def test_maintenance_is_respected(on, eventually, well_again):
    assert voip("maintenance", "devstack", "--for", "10m", "--reason", "a test").returncode == 0
    stop(on, "devstack", "redis")
    assert "devstack: maintenance until" in voip("status").stdout
    time.sleep(8)  # longer than a repair takes to begin
    assert hosts.probe("devstack", "redis")
    assert since(well_again, "devstack", "redis") == []
    assert voip("maintenance", "devstack", "--end").returncode == 0
    eventually(lambda: since(well_again, "devstack", "redis"), 60, 0.5)
    hosts.answers("devstack", "redis", 10)


def test_flapping_is_given_up_alerted_and_cleared(on, eventually, well_again, pillar):
    """It hangs as often as the policy repairs, and once more."""
    for number in range(1, pillar.repair.flapping.repairs + 1):
        stop(on, "devstack", "redis")
        eventually(lambda n=number: len(repaired(well_again, "devstack", "redis")) == n, 60, 0.2)
        time.sleep(2 * pillar.repair.probe.interval_s)  # the beacon has seen it answer
    assert state.degraded() == {}
    stop(on, "devstack", "redis")
    eventually(lambda: "devstack/redis" in state.degraded(), 30, 0.2)
    assert hosts.probe("devstack", "redis"), "it was repaired although it flaps"
    assert alerts(well_again, "devstack") == ["service/degraded"]
    status = voip("status")
    assert status.returncode == 1
    assert "degraded: 5 repairs in 10 minutes did not last" in status.stdout
    assert "no longer degraded" in voip("incidents", "--clear", "devstack/redis").stdout
    # Told again within repair.repeat_s, and mended now.
    hosts.answers("devstack", "redis", 60)
    shown = json.loads(voip("incidents", "--json", "--host", "devstack", "--since", "10m").stdout)
    outcomes = [i["outcome"] for i in shown["incidents"] if i["began"] >= well_again - 1]
    assert "degraded" in outcomes


def test_a_repair_that_does_not_help_is_told_and_not_hurried(on, eventually, well_again, pillar):
    """Redis hangs, and its program is no longer one: it cannot be started."""
    folder = f"/run/systemd/system/{hosts.unit('devstack', 'redis')}.d"
    on("devstack", "mkdir", "-p", folder)
    broken = "[Service]\\nExecStart=\\nExecStart=/bin/false\\n"
    on("devstack", "sh", "-c", f"printf '{broken}' > {folder}/broken.conf")
    on("devstack", "systemctl", "daemon-reload")
    try:
        stop(on, "devstack", "redis")
        eventually(lambda: "service/not-repaired" in alerts(well_again, "devstack"), 60, 0.5)
        time.sleep(pillar.repair.pause_s - 3)
        (incident,) = [
            item for item in since(well_again, "devstack", "redis") if item["outcome"] == "failed"
        ]
        assert "redis" in incident["why"]
        assert incident["done"] == ["killed"]
        assert alerts(well_again, "devstack") == ["service/not-repaired"]
    finally:
        on("devstack", "rm", "-r", folder)
        on("devstack", "systemctl", "daemon-reload")
    # The next start that systemd or a repair tries is a good one.
    hosts.answers("devstack", "redis", 90)


def test_a_degraded_service_that_answers_again_is_well(on, eventually):
    state.degrade("devstack", "redis", "a test")
    stop(on, "devstack", "redis")
    eventually(lambda: hosts.probe("devstack", "redis"), 10, 0.2)
    time.sleep(6)  # the beacon has called it down
    on("devstack", "systemctl", "kill", "--signal=CONT", hosts.unit("devstack", "redis"))
    eventually(lambda: "devstack/redis" not in state.degraded(), 30, 0.2)


def test_a_call_works_after_all_that(salt, eventually):
    eventually(lambda: _reaches(salt), 60, 1)
    done = voip("call", "1001", "1002")
    assert done.returncode == 0, done.stdout + done.stderr


def _reaches(salt):
    from voip_stack.problem import Problem

    try:
        return salt("sip-1", "kamailio.reaches_peers")
    except Problem:
        return False
