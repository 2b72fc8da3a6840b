"""A minion's event on a real master: believed when it is signed by that minion, else recorded."""

import sys
import time
from pathlib import Path

import pytest

from tests.integration.daemons import master_of, start_minion, stop
from voip_stack.events import record
from voip_stack.master import client, keys

sys.path[:0] = [str(Path(__file__).parents[2] / "_utils")]
DEADLINE_S = 20
# A kind whose handler shows what it did, an alert, and asks no host.
KIND = "kernel/build-failed"
TAG = f"voip/event/{KIND}"
DATA = {"release": "6.1.0-99-cloud-amd64", "reason": "error: no member named x"}


@pytest.fixture(scope="module")
def minions(tmp_path_factory):
    """media-1 and pbx-1, answering, with this checkout's extensions."""
    names = ["media-1", "pbx-1"]
    with master_of(names, tmp_path_factory.mktemp("state")) as ports:
        homes = {name: tmp_path_factory.mktemp(name) for name in names}
        running = [start_minion(homes[n], n, ports, keys.ensure_minion(n)) for n in names]
        missing = client.ping(names, 60)
        client.run(names, "saltutil.sync_all", deadline_s=120)
        yield homes
        for process in running:
            stop(process)
    assert missing == []


def alerts(since):
    return [entry for entry in record.read("alerts", since) if entry["kind"] == KIND]


def seen(kind, host, since):
    """The security events of one kind about a host, once there is one."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        found = [e for e in record.read("security", since) if e["kind"] == kind]
        if found and found[-1]["host"] == host:
            return found
        time.sleep(0.2)
    return []


def test_a_signed_event_reaches_its_handler(minions):
    began = time.time()
    assert client.call("media-1", "voip_event.send", KIND, **DATA, timeout_s=20) is True
    deadline = time.monotonic() + DEADLINE_S
    while not alerts(began) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert [entry["host"] for entry in alerts(began)] == ["media-1"]


def test_an_unsigned_event_is_only_recorded(minions):
    began = time.time()
    data = {"host": "pbx-1", "kind": KIND, "data": DATA}
    client.call("media-1", "event.fire_master", data, TAG)
    assert seen("event/unsigned", "media-1", began)  # the sender, by the channel
    assert alerts(began) == []


def test_nobody_speaks_for_another(minions):
    """pbx-1 signs with its own key what media-1 would say, and puts media-1's name to it."""
    began = time.time()
    forged = {**_signed(minions["pbx-1"], "pbx-1"), "host": "media-1"}
    client.call("pbx-1", "event.fire_master", forged, TAG)
    assert seen("event/forged", "media-1", began)
    assert alerts(began) == []


def test_a_replay_counts_once(minions):
    began = time.time()
    envelope = _signed(minions["media-1"], "media-1")
    for _ in range(2):
        client.call("pbx-1", "event.fire_master", envelope, TAG)
    assert seen("event/replayed", "media-1", began)
    assert len(alerts(began)) == 1


def test_what_was_signed_cannot_be_changed(minions):
    began = time.time()
    envelope = _signed(minions["media-1"], "media-1")
    changed = {**envelope, "data": {"sls": "base"}}
    client.call("media-1", "event.fire_master", changed, TAG)
    assert seen("event/forged", "media-1", began)


def test_data_is_what_the_handler_declared(minions):
    began = time.time()
    client.call("media-1", "voip_event.send", KIND, target="*", **DATA, timeout_s=20)
    assert seen("event/malformed", "media-1", began)
    assert alerts(began) == []


def _signed(home, name):
    import voip_event

    return voip_event.signed({"id": name, "pki_dir": str(home / "pki")}, KIND, **DATA)
