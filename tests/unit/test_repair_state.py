"""What self-repair remembers, and what becomes of the beacon's events."""

import time

import pytest

from voip_stack.events import orchestrate, record, security
from voip_stack.repair import engine, handlers, hosts, incidents, state
from voip_stack.repair.rules import Look


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    monkeypatch.setenv("VOIP_STATE_DIR", str(tmp_path))
    monkeypatch.setattr("voip_stack.events.bus.fire", lambda tag, data: None)


def test_maintenance_ends_by_itself_and_by_hand(monkeypatch):
    state.maintain("sip-1", 60, "upgrade")
    state.maintain("pbx-1", 0.001, "")
    time.sleep(0.01)
    assert list(state.maintenance()) == ["sip-1"]
    assert state.maintenance()["sip-1"]["reason"] == "upgrade"
    assert state.end_maintenance("sip-1") is True
    assert state.end_maintenance("sip-1") is False
    assert state.maintenance() == {}


def test_degraded_until_restored():
    state.repaired("sip-1", "kamailio", True)
    assert state.restore("sip-1", "kamailio") is False
    assert len(state.repairs("sip-1", "kamailio")) == 1, "a repair counts until the window is over"
    assert state.degrade("sip-1", "kamailio", "why") is True
    assert state.degrade("sip-1", "kamailio", "again") is False
    assert state.degraded()["sip-1/kamailio"]["why"] == "why"
    assert state.restore("sip-1", "kamailio") is True
    assert (state.degraded(), state.repairs("sip-1", "kamailio")) == ({}, [])


def test_the_same_is_told_once():
    assert state.tell("sip-1", "kamailio", "stopped") is True
    assert state.tell("sip-1", "kamailio", "stopped") is False
    assert state.is_remembered("sip-1", "kamailio")
    state.untell("sip-1", "kamailio")
    assert not state.is_remembered("sip-1", "kamailio")
    assert state.tell("sip-1", "kamailio", "stopped") is True


class Host:
    """A host that answers as the test says: what `look` sees, one after the other."""

    def __init__(self, monkeypatch, *looks, helps=True):
        self.looks, self.helps, self.asked = list(looks), helps, []
        monkeypatch.setattr(engine, "PAUSE_S", 0)
        monkeypatch.setattr(engine, "SETTLE_S", 0)
        for name in ("look", "evidence", "restart", "answers"):
            monkeypatch.setattr(hosts, name, getattr(self, name))
        monkeypatch.setattr(hosts, "probe", lambda host, service: "")

    def look(self, host, service):
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]

    def evidence(self, host, service):
        self.asked.append("evidence")
        return "what the host showed"

    def restart(self, host, service, *, stopped):
        self.asked.append("kill" if stopped else "restart")
        return ["started"], ""

    def answers(self, host, service, timeout_s):
        from voip_stack.problem import Problem

        if not self.helps:
            raise Problem("it does not answer")
        return 0.1


HANGS = Look("sip: no answer within 1 s", "active", stopped=1, processes=1)
STARTS = Look("sip: Connection refused", "activating", for_s=0.2)
WELL = Look("", "active")
STOPPED = Look("sip: Connection refused", "inactive")
SILENT = Look("sip: no answer within 1 s", "active", processes=1)


def repair(**more):
    return engine.repair("sip-1", "kamailio", **({"by": "health beacon", "forced": False} | more))


def test_a_hang_is_repaired_and_recorded(monkeypatch):
    host = Host(monkeypatch, HANGS)
    done = repair(for_s=3.0)
    assert (done["outcome"], host.asked) == ("repaired", ["evidence", "kill"])
    (item,) = incidents.read()
    assert (item["outcome"], item["done"], item["seen"]) == ("repaired", ["started"], HANGS.what)
    assert item["took_s"] >= 3.0
    assert (incidents.evidence_dir() / f"{item['id']}.txt").read_text() == "what the host showed"


def test_a_start_under_way_is_waited_for(monkeypatch):
    host = Host(monkeypatch, STARTS, STARTS, WELL)
    assert repair()["outcome"] == "recovered"
    assert host.asked == []
    assert "systemd is at work" in incidents.read()[0]["done"][0]


def test_one_whose_dependency_may_just_be_back_is_asked_again(monkeypatch):
    """The repair begins after it: what this one did not see, it cannot have waited for."""
    host = Host(monkeypatch, SILENT, WELL)
    assert repair()["outcome"] == "recovered"
    assert host.asked == []
    host = Host(monkeypatch, SILENT, SILENT)
    assert repair()["outcome"] == "repaired"
    assert host.asked == ["evidence", "restart"]


def test_a_first_start_is_no_incident(monkeypatch):
    """A fresh host: the beacon was there before the daemon had come up."""
    for looks in ([WELL], [STARTS, WELL]):
        host = Host(monkeypatch, *looks)
        assert repair(has_answered=False)["outcome"] == "recovered"
        assert (host.asked, incidents.read()) == ([], [])


def test_one_that_never_answered_is_repaired_and_recorded(monkeypatch):
    host = Host(monkeypatch, HANGS)
    assert repair(has_answered=False)["outcome"] == "repaired"
    assert len(incidents.read()) == 1
    assert host.asked == ["evidence", "kill"]


def test_a_repair_that_does_not_help_is_an_alert_and_then_a_pause(monkeypatch):
    Host(monkeypatch, HANGS, helps=False)
    assert repair()["outcome"] == "failed"
    assert [entry["kind"] for entry in record.read("alerts")] == ["service/not-repaired"]
    assert repair()["outcome"] == "paused"
    assert len(incidents.read()) == 1


def test_flapping_is_given_up_with_one_alert(monkeypatch):
    host = Host(monkeypatch, HANGS)
    outcomes = [repair()["outcome"] for _ in range(8)]
    assert outcomes == ["repaired"] * 5 + ["degraded"] + ["left"] * 2
    assert host.asked.count("kill") == 5
    assert [entry["kind"] for entry in record.read("alerts")] == ["service/degraded"]


def test_what_an_operator_stopped_is_left_and_told_once(monkeypatch):
    host = Host(monkeypatch, STOPPED)
    assert [repair()["outcome"] for _ in range(3)] == ["left"] * 3
    assert host.asked == []
    assert len(incidents.read()) == len(list(record.read("alerts"))) == 1


def test_maintenance_is_silent(monkeypatch):
    host = Host(monkeypatch, HANGS)
    state.maintain("sip-1", 60, "upgrade")
    assert repair()["outcome"] == "left"
    assert (host.asked, incidents.read(), list(record.read("alerts"))) == ([], [], [])


def test_a_dependency_is_waited_for(monkeypatch):
    host = Host(monkeypatch, HANGS, HANGS, WELL)
    monkeypatch.setattr(hosts, "probe", lambda host, service: "sql: Connection refused")
    assert repair()["outcome"] == "recovered"
    assert host.asked == []
    assert incidents.read()[0]["done"] == ["waited: sip-1/pgbouncer is down"]


def test_never_two_at_once(monkeypatch):
    class Nested(Host):
        def evidence(self, host, service):
            assert repair()["outcome"] == "under way"
            return super().evidence(host, service)

    Nested(monkeypatch, HANGS)
    assert repair()["outcome"] == "repaired"


# ------------------------------------------------------------------ events
@pytest.fixture
def ordered(monkeypatch):
    orders = []
    monkeypatch.setattr(orchestrate, "run", lambda name, pillar: orders.append((name, pillar)))
    return orders


def test_an_event_orders_the_repair_of_its_own_service(ordered):
    handlers.down("sip-1", handlers.Down(service="kamailio", what="x {{ 1 }}", for_s=2.5))
    ((name, pillar),) = ordered
    assert name == "repair"
    assert pillar["repair"] == {
        "host": "sip-1", "service": "kamailio", "for_s": 2.5,
        "has_answered": True, "by": "health beacon", "forced": False,
    }  # fmt: skip


@pytest.mark.parametrize("service", ["asterisk", "sshd", "openbao"])
def test_an_event_about_another_host_service_is_a_security_event(ordered, service):
    handlers.down("sip-1", handlers.Down(service=service, what="x"))
    handlers.up("sip-1", handlers.Up(service=service))
    assert ordered == []
    assert {entry["kind"] for entry in record.read(security.RECORD)} == {"event/not-its-own"}


@pytest.mark.parametrize(
    "data",
    [
        {"service": "kamailio; reboot", "what": ""},
        {"service": "../kamailio", "what": ""},
        {"service": "kamailio", "what": "x" * 301},
        {"service": "kamailio", "what": "x", "for_s": -1},
        {"service": "kamailio", "what": "x", "host": "pbx-1"},
        {"service": ["kamailio"], "what": "x"},
    ],
)
def test_data_that_is_not_as_declared_is_refused(data):
    with pytest.raises(ValueError, match="validation error"):
        handlers.Down.model_validate(data)


@pytest.mark.parametrize(("still", "left"), [("", []), ("sip: refused", ["sip-1/kamailio"])])
def test_recovery_is_believed_when_the_host_confirms_it(monkeypatch, still, left):
    state.degrade("sip-1", "kamailio", "flapping")
    monkeypatch.setattr(hosts, "probe", lambda host, service: still)
    handlers.up("sip-1", handlers.Up(service="kamailio"))
    assert list(state.degraded()) == left
