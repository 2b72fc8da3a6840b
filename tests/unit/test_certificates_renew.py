"""The master's order to renew: who may be meant, what comes back, what is recorded."""

import threading
import time

import pytest

from voip_stack.certificates import renew as renewals
from voip_stack.events import locks, record
from voip_stack.problem import Problem

MADE = {
    "outcome": "renewed", "why": "ordered", "time": 1000.25, "proof_s": 0.2, "serial": "7f",
    "not_after": "2028-11-28T00:00:00+00:00", "life_s": 63072030, "names": ["a"], "issuer": "CN=b",
}  # fmt: skip


@pytest.fixture
def host(tmp_path, monkeypatch):
    """What the orchestration's state holds; host.orders: with which pillar it was run."""
    monkeypatch.setenv("VOIP_STATE_DIR", str(tmp_path))
    monkeypatch.setattr(renewals.daemon, "is_running", lambda: True)

    class Host:
        def __init__(self):
            self.orders = []
            self.state = {"result": True, "changes": {"ret": {"sip-1": MADE}}}

        def attempt(self, name, pillar):
            assert name == "renew"
            self.orders.append(pillar["renewal"])
            return {"Renew": self.state}

    found = Host()
    monkeypatch.setattr(renewals.orchestrate, "attempt", found.attempt)
    return found


def recorded():
    return list(record.read(renewals.RECORD))


def test_one_that_is_good_can_be_renewed(host):
    done = renewals.renew("sip-1", "kamailio", by="operator", since=999.0)
    assert host.orders == [{"host": "sip-1", "name": "kamailio", "forced": True}]
    assert (done.outcome, done.seconds, done.proof_s, done.serial) == ("renewed", 1.25, 0.2, "7f")
    (entry,) = recorded()
    assert (entry["host"], entry["name"], entry["by"]) == ("sip-1", "kamailio", "operator")
    assert entry["seconds"] == 1.25


@pytest.mark.parametrize("pair", [("sip-1", "asterisk"), ("*", "kamailio"), ("sip-1", "../x")])
def test_only_what_a_host_holds(host, pair):
    with pytest.raises(Problem, match="has no certificate"):
        renewals.renew(*pair, by="operator")
    assert host.orders == recorded() == []


@pytest.mark.parametrize("cause", ["vault", "host"])
def test_a_failure_says_what_to_do(host, cause):
    answer = {"outcome": "failed", "cause": cause, "why": "it is so", "time": 1000.0}
    host.state = {"result": False, "changes": {"ret": {"sip-1": answer}}}
    with pytest.raises(renewals.NotRenewed, match="it is so") as raised:
        renewals.renew("sip-1", "kamailio", by="operator")
    assert raised.value.cause == cause
    assert raised.value.how
    (entry,) = recorded()
    assert (entry["outcome"], entry["cause"], entry["why"]) == ("failed", cause, "it is so")


@pytest.mark.parametrize(
    "state",
    [
        {"result": False, "comment": "No minions responded", "changes": {}},
        {"result": False, "comment": "failed", "changes": {"ret": {"sip-1": "Traceback"}}},
        {"result": False, "comment": "failed", "changes": {"ret": {"sip-1": False}}},
    ],
)
def test_a_minion_that_does_not_answer(host, state):
    host.state = state
    with pytest.raises(renewals.NotRenewed) as raised:
        renewals.renew("sip-1", "kamailio", by="operator")
    assert raised.value.cause == "minion"


def test_never_two_at_once(host):
    with (
        locks.one_at_a_time("certificate/sip-1/kamailio"),
        pytest.raises(locks.Busy, match="certificate/sip-1/kamailio"),
    ):
        renewals.renew("sip-1", "kamailio", by="operator", wait_s=0.2)
    assert host.orders == []


def test_the_second_waits_for_the_first(host):
    order = []

    def hold():
        with locks.one_at_a_time("certificate/sip-1/kamailio"):
            held.set()
            time.sleep(0.3)
            order.append("first")

    held = threading.Event()
    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    renewals.renew("sip-1", "kamailio", by="operator")
    order.append("second")
    thread.join()
    assert order == ["first", "second"]


def test_without_a_master_it_is_said(host, monkeypatch):
    monkeypatch.setattr(renewals.daemon, "is_running", lambda: False)
    with pytest.raises(Problem, match="master does not run"):
        renewals.renew("sip-1", "kamailio", by="operator")
