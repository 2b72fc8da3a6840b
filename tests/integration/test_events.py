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
    assert client.call("media-1", "voip_event.send", "identity/intercepted", timeout_s=20) is True
    assert len(seen("identity/intercepted", "media-1", began)) == 1


def test_an_unsigned_event_is_only_recorded(minions):
    began = time.time()
    data = {"host": "pbx-1", "kind": "identity/intercepted", "data": {}}
    client.call("media-1", "event.fire_master", data, "voip/event/identity/intercepted")
    assert seen("event/unsigned", "media-1", began)  # the sender, by the channel
    assert not [e for e in record.read("security", began) if e["kind"] == "identity/intercepted"]


def test_nobody_speaks_for_another(minions):
    """pbx-1 takes media-1's genuine event, puts its own name to it, and sends it."""
    began = time.time()
    envelope = _signed(minions["media-1"], "media-1", "identity/intercepted")
    forged = {**envelope, "host": "pbx-1"}
    client.call("pbx-1", "event.fire_master", forged, "voip/event/identity/intercepted")
    assert seen("event/forged", "pbx-1", began)


def test_a_replay_counts_once(minions):
    began = time.time()
    envelope = _signed(minions["media-1"], "media-1", "identity/intercepted")
    for _ in range(2):
        client.call("pbx-1", "event.fire_master", envelope, "voip/event/identity/intercepted")
    assert seen("event/replayed", "media-1", began)
    assert len(seen("identity/intercepted", "media-1", began)) == 1


def test_what_was_signed_cannot_be_changed(minions):
    began = time.time()
    envelope = _signed(minions["media-1"], "media-1", "identity/intercepted")
    changed = {**envelope, "data": {"sls": "base"}}
    client.call("media-1", "event.fire_master", changed, "voip/event/identity/intercepted")
    assert seen("event/forged", "media-1", began)


def test_data_is_what_the_handler_declared(minions):
    began = time.time()
    client.call("media-1", "voip_event.send", "identity/intercepted", target="*", timeout_s=20)
    assert seen("event/malformed", "media-1", began)


def _signed(home, name, kind):
    import voip_event

    return voip_event.signed({"id": name, "pki_dir": str(home / "pki")}, kind)
