"""What is believed of an event, by a real key; what a handler is handed."""

import json
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from voip_stack.events import dispatch, locks, record, security
from voip_stack.events.handlers import TABLE, Handler, NothingMore
from voip_stack.events.received import WINDOW_S, NotBelieved, Verifier
from voip_stack.problem import Problem

sys.path[:0] = [str(Path(__file__).parents[2] / "_utils")]

import voip_event  # noqa: E402

HOSTS = ["sip-1", "pbx-1"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A minion's and the master's directory of keys; sip-1 has one."""
    home = tmp_path_factory.mktemp("keys")
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    encoding, public = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    private = key.private_bytes(
        encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (home / "minion.pem").write_bytes(private)
    (home / "accepted").mkdir()
    (home / "accepted" / "sip-1").write_bytes(key.public_key().public_bytes(encoding, public))
    return home


@pytest.fixture
def verifier(home):
    return Verifier(home / "accepted")


@pytest.fixture(autouse=True)
def state_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("VOIP_STATE_DIR", str(tmp_path))
    # No master listens here: each try to tell one takes a second, and the minute would be over.
    monkeypatch.setattr(security.bus, "fire", lambda tag, data: None)
    return tmp_path


def signed(home, host="sip-1", kind="service/down", **data):
    return voip_event.signed({"id": host, "pki_dir": str(home)}, kind, **data)


def stamp(seconds_ago):
    """The time that Salt writes on an event when it reaches the bus."""
    return (datetime.now(UTC) - timedelta(seconds=seconds_ago)).isoformat()


def test_both_forms_on_the_bus_are_read(home, verifier):
    beacon = signed(home, service="kamailio") | {"id": "sip-1", "_stamp": stamp(0)}
    sent = {"id": "sip-1", "tag": "voip/event/x", "data": signed(home, service="kamailio")}
    for received in (beacon, sent):
        event = verifier.verify(received, HOSTS)
        assert (event.host, event.kind, event.data) == (
            "sip-1",
            "service/down",
            {"service": "kamailio"},
        )


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"host": "pbx-1"}, "event/unsigned"),  # whose key the master does not have
        ({"host": "../../master"}, "event/unknown-host"),
        ({"host": "nobody"}, "event/unknown-host"),
        ({"kind": "certificate/expiring"}, "event/forged"),
        ({"data": {"service": "asterisk"}}, "event/forged"),
        ({"nonce": "0"}, "event/forged"),
        ({"time": 1.0}, "event/forged"),
        ({"signature": ""}, "event/forged"),
        ({"signature": "no base64!"}, "event/unsigned"),
        ({"signature": None}, "event/unsigned"),
        ({"host": ["sip-1"]}, "event/malformed"),
        ({"data": "text"}, "event/malformed"),
        ({"time": "now"}, "event/malformed"),
        ({"data": {"x": b"bytes"}}, "event/malformed"),
        ({"data": {"x": "y" * 20000}}, "event/malformed"),
    ],
)
def test_what_was_changed_is_not_believed(home, verifier, change, kind):
    with pytest.raises(NotBelieved) as refused:
        verifier.verify(signed(home, service="kamailio") | change, HOSTS)
    assert refused.value.kind == kind


@pytest.mark.parametrize("received", [None, "text", [], {}, {"data": {}}, {"data": None, "id": 7}])
def test_what_is_no_event_is_not_believed(verifier, received):
    with pytest.raises(NotBelieved):
        verifier.verify(received, HOSTS)


def test_old_and_future_events_are_not_believed(home, verifier, monkeypatch):
    genuine, real = signed(home), time.time
    for hours in (-1, 1):
        monkeypatch.setattr(time, "time", lambda hours=hours: real() + hours * 3600)
        with pytest.raises(NotBelieved, match="clock"):
            verifier.verify(genuine, HOSTS)


def test_an_event_does_not_grow_old_behind_others(home, verifier, monkeypatch):
    """It reached the bus at once, and the reactor an hour later; its replay then is one still."""
    genuine, real = signed(home) | {"_stamp": stamp(0)}, time.time
    verifier.started -= 1
    monkeypatch.setattr(time, "time", lambda: real() + 3600)
    verifier.verify(genuine, HOSTS)
    with pytest.raises(NotBelieved, match="received before"):
        verifier.verify(genuine | {"_stamp": stamp(-WINDOW_S + 1)}, HOSTS)


@pytest.mark.parametrize("late", ["now", None, 7, "3026-01-01T00:00:00+00:00"])
def test_a_stamp_makes_nothing_younger(home, verifier, monkeypatch, late):
    genuine, real = signed(home) | {"_stamp": late}, time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3600)
    with pytest.raises(NotBelieved, match="clock"):
        verifier.verify(genuine, HOSTS)


def test_an_event_is_believed_once(home, verifier):
    genuine = signed(home)
    verifier.verify(genuine, HOSTS)
    with pytest.raises(NotBelieved, match="received before"):
        verifier.verify(genuine, HOSTS)


def test_a_restarted_master_does_not_act_twice(home):
    genuine = signed(home)
    after = Verifier(home / "accepted")
    after.started = time.time() + 2
    with pytest.raises(NotBelieved, match="before the master's start"):
        after.verify(genuine, HOSTS)
    assert WINDOW_S > 2


@pytest.fixture
def handled(monkeypatch):
    """Handle `test/kind` by a list; {"fail": error} makes it fail."""
    calls, state = [], {"fail": None}

    def function(host, data):
        calls.append((host, data))
        if state["fail"]:
            raise state["fail"]

    handler = Handler("", "")
    monkeypatch.setattr(Handler, "load", lambda self: (NothingMore, function))
    monkeypatch.setitem(TABLE, "test/kind", handler)
    return calls, state


def test_a_handler_gets_the_proved_host(handled):
    assert dispatch.handle("sip-1", "test/kind", {}) == "done"
    assert handled[0] == [("sip-1", NothingMore())]


@pytest.mark.parametrize(
    "error", [Problem("no answer", "pbx-1"), RuntimeError("a mistake of ours")]
)
def test_what_a_handler_could_not_do_is_an_alert(handled, error):
    handled[1]["fail"] = error
    assert dispatch.handle("sip-1", "test/kind", {}) == "failed"
    (alert,) = record.read("alerts")
    assert (alert["kind"], alert["host"]) == ("test/kind/failed", "sip-1")


@pytest.mark.parametrize(
    ("kind", "data"),
    [("test/kind", {"tgt": "*"}), ("test/other", {}), ("state.apply", {})],
)
def test_undeclared_kinds_and_data_are_security_events(handled, kind, data):
    assert dispatch.handle("sip-1", kind, data) == "refused"
    assert handled[0] == []
    assert len(list(record.read("security"))) == 1


def test_every_handler_of_the_table_exists():
    for kind, handler in TABLE.items():
        model, function = handler.load()
        assert model.model_config["extra"] == "forbid", kind
        assert callable(function), kind


def test_a_flood_does_not_fill_the_record(monkeypatch):
    # No master listens here: each try to tell one takes a second, and the minute would be over.
    monkeypatch.setattr(security.bus, "fire", lambda tag, data: None)
    for _ in range(security.MOST_PER_MINUTE + 50):
        security.report("event/forged", "sip-1", "again")
    entries = list(record.read("security"))
    assert len(entries) == security.MOST_PER_MINUTE
    assert "not recorded" in entries[-1]["detail"]


def test_a_large_record_is_put_aside_and_a_broken_line_passed_over(monkeypatch):
    monkeypatch.setattr(record, "LARGEST_BYTES", 200)
    for number in range(10):
        record.append("alerts", {"number": number})
    with record.file("alerts").open("a") as stream:
        stream.write('{"half": ')
    numbers = [entry["number"] for entry in record.read("alerts")]
    assert numbers[-1] == 9
    assert numbers == sorted(numbers)
    assert len(record.file("alerts").read_text()) < 400


def test_a_record_is_private(state_dir):
    record.append("security", {"kind": "x"})
    assert (record.file("security").stat().st_mode & 0o777) == 0o600


def test_one_at_a_time_among_threads_too():
    seen = []

    def other():
        with locks.one_at_a_time("certificate/sip-1/kamailio") as is_ours:
            seen.append(is_ours)

    with locks.one_at_a_time("certificate/sip-1/kamailio") as is_ours:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    other()
    assert (is_ours, seen) == (True, [False, True])


def test_the_map_sends_everything_through_the_one_door(tmp_path):
    from voip_stack import paths
    from voip_stack.master.config import reactors

    entries = reactors(paths.checkout() / "reactor")
    assert {file for entry in entries for files in entry.values() for file in files} == {
        str(paths.checkout() / "reactor/received.sls")
    }
    assert "voip/security" not in json.dumps(entries)
