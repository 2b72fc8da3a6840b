"""Certificates in the lab renew themselves: beacon, signed event, one orchestration each.

The limits here are functional; how fast it is, `./voip bench renewal` says.
"""

import base64
import time

import pytest

from voip_stack.certificates import outages, renew
from voip_stack.events import record
from voip_stack.paths import pillar_dir
from voip_stack.pillar import load
from voip_stack.repair import hosts, state

HELD = renew.held(load(pillar_dir()))
KIND = "certificate/expiring"


@pytest.fixture
def renewed_as(salt, compiled):
    """renewed_as(host, name, ttl_s=...): a certificate that differs from pillar's in that."""

    def make(host, name, **different):
        wanted = compiled(host)["certificates"][name] | different
        return salt(host, "voip_pki.renew", name, wanted, timeout_s=60)

    return make


@pytest.fixture
def tell(salt):
    """tell(host, name): what the beacon would say, by that host's own signature."""

    return lambda host, name: salt(host, "voip_renewal.tell", name)


def renewals(since, outcome="renewed", by=renew.BEACON):
    return [
        (item["host"], item["name"])
        for item in record.read(renew.RECORD, since)
        if (item["outcome"], item["by"]) == (outcome, by)
    ]


def alerts(since):
    """[whether it is the all-clear] of the renewals' alerts."""
    found = record.read("alerts", since)
    return [bool(item.get("cleared")) for item in found if item["kind"] == outages.KIND]


@pytest.fixture
def hanging(on):
    """hanging(host, service): every process of it stopped, and self-repair looks away."""
    stopped = []

    def stop(host, service):
        state.maintain(host, 600, "renewal of what hangs")
        unit = hosts.unit(host, service)
        stopped.append((host, service, unit))
        on(host, "systemctl", "kill", "--signal=STOP", unit)

    def go_on():
        while stopped:
            host, service, unit = stopped.pop()
            on(host, "systemctl", "kill", "--signal=CONT", unit)
            hosts.answers(host, service, 60)
            state.end_maintenance(host)

    stop.go_on = go_on
    yield stop
    go_on()


def test_what_hangs_keeps_its_certificate_and_is_tried_again(
    hanging, renewed_as, compiled, shown, tell, eventually
):
    host, name = "sip-1", "kamailio"
    *most, _ = compiled(host)["certificates"][name]["alt_names"]
    renewed_as(host, name, alt_names=most)  # one too few: due at once, and good for long
    before, began = shown(host, name), time.time()
    hanging(host, name)

    def told_until(count):
        tell(host, name)
        return len(renewals(began, "failed")) >= count

    eventually(lambda: told_until(2), 240, 1)
    tries = [item["time"] for item in record.read(renew.RECORD, began)]
    assert tries[1] - tries[0] > outages.pause_s("host", 1, 1e7)
    assert alerts(began) == [False], "one for the outage, not one for a try"
    assert outages.known()[f"{host}/{name}"]["cause"] == "host"
    hanging.go_on()
    assert shown(host, name) == before
    eventually(lambda: tell(host, name) and renewals(began), 120, 1)
    assert shown(host, name) != before
    assert alerts(began) == [False, True]
    tell(host, name)  # in vain: it is good now
    time.sleep(5)
    assert len(renewals(began)) == 1


@pytest.mark.parametrize(("host", "name"), HELD)
def test_what_has_ended_is_renewed_still(host, name, renewed_as, compiled, tell, shown, eventually):
    """As after a Vault that was away for long: nobody can verify what is shown."""
    state.maintain(host, 300, "a certificate has ended")
    try:
        began = time.time()
        renewed_as(host, name, ttl_s=2, renew_fraction=0.01)
        before = shown(host, name)
        time.sleep(3)
        eventually(lambda: tell(host, name) and (host, name) in renewals(began), 60, 1)
        assert shown(host, name) != before
        if name in compiled(host)["probes"]:
            hosts.answers(host, name, 60)
    finally:
        state.end_maintenance(host)


def test_nobody_has_anothers_renewed(salt, shown, eventually):
    before, began = shown("pbx-1", "asterisk"), time.time()
    data = {"name": "asterisk", "why": "ends", "at": began, "left_s": 1.0}
    envelope = {
        "host": "pbx-1",
        "kind": KIND,
        "data": data,
        "time": began,
        "nonce": "of sip-1",
        "signature": base64.b64encode(b"x" * 256).decode(),
    }
    salt("sip-1", "event.fire_master", envelope, f"voip/event/{KIND}")
    salt("sip-1", "voip_event.send", KIND, **data)

    def refused():
        found = {(item["kind"], item["host"]) for item in record.read("security", began)}
        return found >= {("event/forged", "pbx-1"), ("event/not-its-own", "sip-1")}

    eventually(refused, 30)
    time.sleep(3)
    assert renewals(began) == []
    assert shown("pbx-1", "asterisk") == before
