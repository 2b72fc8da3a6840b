"""certificate/expiring on the master: whose it may be, what a failure leads to, in which order."""

import threading
import time

import pytest
from pydantic import ValidationError

from voip_stack.certificates import outages, renew
from voip_stack.certificates.queue import Queue
from voip_stack.events import certificates, dispatch, locks, record
from voip_stack.problem import Problem

HOST, NAME = "sip-1", "kamailio"
DATA = {"name": NAME, "why": "ends", "at": 1000.0, "left_s": 60.0}


@pytest.fixture(autouse=True)
def master(tmp_path, monkeypatch):
    """What the bus and the records hold, and no thread: an order is done where it is put."""
    monkeypatch.setenv("VOIP_STATE_DIR", str(tmp_path))

    class Master:
        def __init__(self):
            self.fired, self.asked, self.answer = [], [], None

        def renew(self, host, name, **keywords):
            self.asked.append((host, name, keywords))
            if self.answer is not None:
                raise self.answer
            outages.mended(host, name)

        def put(self, host, name, order):
            certificates._renew(host, name, order)
            return True

    found = Master()
    monkeypatch.setattr("voip_stack.events.bus.fire", lambda tag, data: found.fired.append(tag))
    monkeypatch.setattr(certificates.renew, "renew", found.renew)
    monkeypatch.setattr(certificates.RENEWALS, "put", found.put)
    return found


def tell(host=HOST, **data):
    return dispatch.handle(host, "certificate/expiring", DATA | data)


def not_renewed(cause):
    return renew.NotRenewed(cause, "not renewed", "where", "how")


def alerts():
    found = record.read("alerts")
    return [(entry["host"], entry["cause"], entry.get("cleared", False)) for entry in found]


def test_what_is_due_is_renewed_where_the_host_agrees(master):
    assert tell() == "done"
    assert master.asked == [
        (HOST, NAME, {"by": "beacon", "forced": False, "since": 1000.0, "wait_s": 0})
    ]
    assert alerts() == []


@pytest.mark.parametrize("name", ["asterisk", "nothing", "postgresql"])
def test_another_hosts_certificate_is_a_security_event(master, name):
    tell(name=name)
    assert master.asked == []
    (event,) = record.read("security")
    assert (event["kind"], event["host"]) == ("event/not-its-own", HOST)


@pytest.mark.parametrize(
    "data",
    [
        {"name": "../kamailio"},
        {"name": "*"},
        {"name": "a; reboot"},
        {"name": "x" * 33},
        {"why": "because"},
        {"at": -1.0},
        {"at": float("nan")},
        {"left_s": float("inf")},
        {"target": "*"},
    ],
)
def test_what_is_not_declared_is_refused(data):
    with pytest.raises(ValidationError):
        certificates.Expiring.model_validate(DATA | data)


def test_one_alert_an_outage_and_an_all_clear(master, monkeypatch):
    master.answer = not_renewed("host")
    monkeypatch.setattr(outages, "pause_s", lambda *_: 0.0)
    for _ in range(3):
        tell()
    assert len(master.asked) == 3
    assert alerts() == [(HOST, "host", False)]
    master.answer = None
    tell()
    tell()
    assert alerts() == [(HOST, "host", False), (HOST, "host", True)]
    assert master.fired[-1] == f"voip/alert/{outages.KIND}/cleared"
    assert outages.known() == {}


def test_no_try_within_the_pause(master):
    master.answer = not_renewed("host")
    tell()
    tell()
    assert len(master.asked) == 1


def test_the_vault_is_everybodys_and_told_once(master):
    master.answer = not_renewed("vault")
    tell()
    tell("pbx-1", name="asterisk")
    tell()
    assert len(master.asked) == 3, "tries go on with the events"
    assert alerts() == [(HOST, "vault", False)]
    master.answer = None
    tell()
    assert alerts() == [(HOST, "vault", False)], "not over: another one still waits for it"
    tell("pbx-1", name="asterisk")
    assert alerts()[-1] == ("pbx-1", "vault", True)


def test_an_outage_outlives_the_master(master, monkeypatch):
    master.answer = not_renewed("host")
    monkeypatch.setattr(outages, "pause_s", lambda *_: 0.0)
    tell()
    assert outages.known()[f"{HOST}/{NAME}"]["tries"] == 1
    tell()
    assert (outages.known()[f"{HOST}/{NAME}"]["tries"], len(alerts())) == (2, 1)


@pytest.mark.parametrize("answer", [Problem("no pillar"), RuntimeError("what")])
def test_what_was_not_foreseen_is_an_alert_too(master, answer):
    master.answer = answer
    tell()
    assert alerts() == [(HOST, "master", False)]


def test_an_operators_order_goes_first(master):
    master.answer = locks.Busy("at work")
    tell()
    assert alerts() == []
    assert outages.known() == {}


@pytest.mark.parametrize(
    ("cause", "tries", "left_s", "pause_s"),
    [
        ("vault", 1, 60, 0),
        ("vault", 50, 1e7, 0),
        ("host", 1, 1e7, 5),
        ("host", 2, 1e7, 10),
        ("host", 8, 1e7, 640),
        ("host", 12, 1e7, 3600),
        ("host", 5000, 1e7, 3600),
        ("host", 3, 200, 10),
        ("host", 3, 60, 5),
        ("host", 9, -100, 5),
        ("minion", 1, 1e7, 5),
    ],
)
def test_pause(cause, tries, left_s, pause_s):
    assert outages.pause_s(cause, tries, left_s) == pause_s


class Work:
    """Renewals that last until they are let go."""

    def __init__(self):
        self.begun, self.go = [], threading.Event()
        self._lock = threading.Lock()

    def __call__(self, host, name, order):
        with self._lock:
            self.begun.append((host, name))
        self.go.wait(20)

    def after(self, count):
        deadline = time.monotonic() + 20
        while len(self.begun) < count and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)  # for one too many
        return list(self.begun)


def test_one_host_does_not_hold_every_worker():
    work = Work()
    queue = Queue(work, workers=4, per_host=2)
    for number in range(5):
        assert queue.put("pbx-1", f"a{number}", None)
    assert len(work.after(2)) == 2
    queue.put("sip-1", "kamailio", None)
    assert ("sip-1", "kamailio") in work.after(3)
    work.go.set()
    assert len(work.after(6)) == 6


def test_many_at_once_are_all_done_and_never_more_than_workers():
    work = Work()
    queue = Queue(work, workers=3, per_host=3)
    for number in range(8):
        queue.put(f"host-{number}", "a", None)
    assert len(work.after(3)) == 3
    work.go.set()
    assert sorted(work.after(8)) == [(f"host-{number}", "a") for number in range(8)]


def test_never_twice_the_same():
    work = Work()
    queue = Queue(work, workers=2)
    assert queue.put("sip-1", "kamailio", 1) is True
    work.after(1)
    assert queue.put("sip-1", "kamailio", 2) is False
    work.go.set()
    deadline = time.monotonic() + 20
    while not queue.put("sip-1", "kamailio", 3) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(work.after(2)) == 2
