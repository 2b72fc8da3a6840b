"""Two media relays: calls are spread, move with a relay that dies, and stay when a host is drained.

Every test begins and ends with each relay at home. What a call hears is measured in what its
caller recorded of the echo: a silence is one of either way.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time

import pytest

from tests.lab import crowd
from tests.lab.relays import HOME, OTHER, UNIT, answering, send_home
from voip_stack import drain, paths
from voip_stack.cli.hosts import provider_of
from voip_stack.problem import Problem
from voip_stack.providers.lab import nspawn
from voip_stack.repair import state
from voip_stack.steps import Steps

VOIP = str(paths.checkout() / "voip")
# The promise: audio again in every call.
SILENCE_S = 5.0
CALLS = 20
# Of so many, each relay has one: a Call-ID decides.
ENOUGH = 10
NOTICE_S = 2.0


def voip(*words, timeout_s=300):
    return subprocess.run(
        [VOIP, *words], capture_output=True, text=True, check=False, timeout=timeout_s
    )


@pytest.fixture(autouse=True)
def at_home(salt, on, eventually):
    send_home(salt, on, eventually)
    yield
    send_home(salt, on, eventually)


def _report(salt, host):
    """What the host says of its components; nothing while its minion is still on its way."""
    try:
        return salt(host, "voip_status.report")
    except Problem as err:
        print(err)
        return {}


@contextlib.contextmanager
def calls_by(host):
    """New calls go to this host's relay only."""
    other = OTHER if host == HOME else HOME
    with Steps("drain") as steps, steps.step(f"Keep new calls from {other}") as step:
        drain.begin(other, step)
    try:
        yield
    finally:
        with Steps("drain") as steps, steps.step(f"Bring {other} back") as step:
            drain.undo(other, step)


def by_relay(salt, found):
    """{relay: how many of these calls it has}."""
    known = {name: set(salt("sip-1", "rtpengine.calls", name)) for name in (HOME, OTHER)}
    return {name: sum(call.call_id in ids for call in found) for name, ids in known.items()}


def judge(heard, limit_s=SILENCE_S):
    """Every caller hears itself at the end, and none was in silence for longer."""
    print(sorted(round(item.gap_s, 2) for item in heard))
    for item in heard:
        # What was recorded is the whole call: a silence is in it as silence.
        assert item.recorded_s > item.lasted_s - 1, item
        assert item.at_the_end, item
        assert item.gap_s <= limit_s, item


def new_call():
    """A call of two phones while others move; fails unless it is verified."""
    done = voip("call", "1001", "1002", "--json", timeout_s=90)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def media_of(report):
    """The media hosts that carried a call, as its report names them."""
    ends = {end for leg in report["legs"] for end in leg["media"]}
    return ends & {HOME, OTHER}


# ---------------------------------------------------------------- a relay dies
def test_calls_of_a_relay_that_is_killed_go_on_elsewhere(salt, on, eventually):
    """Its restart is prevented. New calls succeed meanwhile; its host's return takes nothing."""
    with contextlib.ExitStack() as stack:
        with calls_by(HOME):
            found = stack.enter_context(crowd.calls(CALLS))
            assert by_relay(salt, found) == {HOME: CALLS, OTHER: 0}
        found += stack.enter_context(crowd.calls(4, first=CALLS))
        on(HOME, "systemctl", "mask", "--runtime", UNIT)
        on(HOME, "systemctl", "kill", "--signal=KILL", UNIT)
        found += stack.enter_context(crowd.calls(2, first=CALLS + 4))
        eventually(lambda: set(answering(salt, OTHER)) == {HOME, OTHER}, 15, 0.5)
        assert salt(HOME, "rtpengine_relays.here") == {}
        assert salt(HOME, "voip_status.report")["rtpengine"]["active"] == "failed"
        on(HOME, "systemctl", "unmask", "--runtime", UNIT)
        on(HOME, "systemctl", "restart", UNIT, "keepalived", "voip-relay-watch")
        time.sleep(5)  # longer than a return would take
        assert salt(HOME, "rtpengine_relays.here") == {}
        assert salt(HOME, "voip_status.report")["rtpengine"]["active"] == "standby"
        judge(crowd.hang_up(found))


def test_calls_of_a_host_that_is_switched_off_go_on_elsewhere(salt, on, eventually):
    """The whole guest at once. New calls succeed meanwhile; back, it takes nothing until asked."""
    with contextlib.ExitStack() as stack:
        found = stack.enter_context(crowd.calls(ENOUGH))
        had = by_relay(salt, found)
        assert had[HOME] > 0
        print(had)
        nspawn.kill(provider_of().record(), HOME)
        eventually(lambda: set(answering(salt, OTHER)) == {HOME, OTHER}, 15, 0.5)
        found += stack.enter_context(crowd.calls(2, first=ENOUGH))
        provider_of().ensure_guests(lambda text: None)
        returned = lambda: _report(salt, HOME).get("rtpengine", {}).get("active")  # noqa: E731
        eventually(lambda: returned() == "standby", 60, 1)
        eventually(lambda: salt(HOME, "service.status", "keepalived"), 15, 0.5)
        assert salt(HOME, "rtpengine_relays.here") == {}
        judge(crowd.hang_up(found))
    assert salt(OTHER, "rtpengine_relays.send_home", HOME, timeout_s=60) is True
    assert salt(HOME, "rtpengine.ping", HOME)
    assert salt(HOME, "voip_status.report")["rtpengine"]["active"] == "active"
    assert on(HOME, "systemctl", "list-units", "--failed", "--plain", "--no-legend") == ""
    assert state.degraded() == {}


def test_calls_of_a_relay_that_systemd_restarts_stay_where_they_are(salt, on):
    with crowd.calls(ENOUGH) as found:
        had = by_relay(salt, found)
        assert had[HOME] > 0
        on(HOME, "systemctl", "kill", "--signal=KILL", UNIT)
        time.sleep(8)  # longer than it takes to be given away
        assert HOME in salt(HOME, "rtpengine_relays.here")
        assert by_relay(salt, found) == had
        judge(crowd.hang_up(found))


@pytest.mark.parametrize("by_ipv6", [False, True], ids=["ipv4", "ipv6"])
def test_calls_of_a_relay_that_hangs_go_on_elsewhere(by_ipv6, salt, on, pillar):
    with crowd.calls(ENOUGH, by_ipv6=by_ipv6) as found:
        assert by_relay(salt, found)[HOME] > 0
        on(HOME, "systemctl", "kill", "--signal=STOP", UNIT)
        time.sleep(8)
        assert set(salt(OTHER, "rtpengine_relays.here")) == {HOME, OTHER}
        for address in (pillar.hosts[HOME].relay.external, pillar.hosts[HOME].relay.external_ipv6):
            show = ("ip", "-oneline", "address", "show", "to", str(address))
            assert on(OTHER, *show)
            assert not on(HOME, *show)
        judge(crowd.hang_up(found))
    assert state.degraded() == {}


def test_the_proxy_notices_within_two_seconds(on):
    watch = "until kamcmd rtpengine.show all | grep -q 'active: 0'; do sleep 0.05; done"
    on(HOME, "systemctl", "mask", "--runtime", UNIT)
    on(HOME, "systemctl", "kill", "--signal=KILL", UNIT)
    began = time.monotonic()
    on("sip-1", "timeout", "10", "sh", "-c", watch)
    assert time.monotonic() - began < NOTICE_S


def test_a_report_names_the_host_that_carried_the_media(salt):
    """Of two, one of them or both; of one, that one."""
    on_both = media_of(new_call())
    assert on_both <= {HOME, OTHER}
    assert on_both
    with Steps("drain") as steps, steps.step("Keep new calls from both but one") as step:
        drain.begin(OTHER, step)
    assert media_of(new_call()) == {HOME}


# ---------------------------------------------------------------- drain
def test_a_host_is_drained_without_cutting_a_call(salt, on, eventually):
    with crowd.calls(ENOUGH) as found:
        had = by_relay(salt, found)
        assert had[HOME] > 0
        draining = subprocess.Popen(
            [VOIP, "drain", HOME, "--wait", "10m", "--json"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        relays = lambda: salt("sip-1", "kamailio.media_relays")  # noqa: E731
        eventually(lambda: "drained" in [relay["state"] for relay in relays()], 90, 1)
        status = json.loads(voip("status", "--json").stdout)
        assert status["drained"][HOME]["state"] == "draining"
        assert media_of(new_call()) == {OTHER}
        # Neither an apply nor a restart of the proxy undoes it; calls go on over both.
        salt("sip-1", "state.apply", "kamailio.configured", queue=True, timeout_s=120)
        assert "drained" in [relay["state"] for relay in relays()]
        beside = salt("sip-1", "opensips.media_relays")
        assert sorted(relay["state"] for relay in beside) == ["active", "drained"]
        assert draining.poll() is None
        judge(crowd.hang_up(found), limit_s=0.5)
    out, err = draining.communicate(timeout=240)
    assert draining.returncode == 0, err
    assert json.loads(out)["state"] == "drained"
    assert HOME in state.maintenance()
    assert json.loads(voip("status", "--json").stdout)["drained"][HOME]["state"] == "drained"
    on("sip-1", "systemctl", "restart", "kamailio")
    eventually(lambda: "drained" in [relay["state"] for relay in relays()], 30, 0.5)
    assert media_of(new_call()) == {OTHER}
    refused = voip("drain", OTHER)
    assert refused.returncode == 1
    assert "the last media host that takes calls" in refused.stderr
    # For the upgrade it may go down: its relay has no call, and gets none at the other host.
    assert voip("drain", HOME, "--undo").returncode == 0
    assert HOME not in state.maintenance()
    assert [relay["state"] for relay in relays()] == ["active", "active"]


def test_only_media_hosts_are_drained():
    done = voip("drain", "pbx-1")
    assert done.returncode == 2
    assert "pbx-1 is no media host" in done.stderr
