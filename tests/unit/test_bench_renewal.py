"""The bench of renewals: what it asks of the hosts, what it makes of the master's record."""

import datetime
import time

import pytest

from voip_stack.bench import renewal as bench
from voip_stack.certificates import renew
from voip_stack.events import record
from voip_stack.paths import pillar_dir
from voip_stack.pillar import load
from voip_stack.problem import Problem


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """Hosts that are renewed as soon as they tell; lab.seconds: how long each takes."""
    monkeypatch.setenv("VOIP_STATE_DIR", str(tmp_path))
    monkeypatch.setattr(bench.deployment, "read", lambda: {"provider": "lab"})
    monkeypatch.setattr(bench.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(bench, "LIMIT_S", 0.3)

    class Lab:
        def __init__(self):
            self.serial, self.asked, self.outcome, self.shows = 0, [], "renewed", True
            self.seconds = {"redis": 0.5}

        def call(self, host, function, name, *arguments, **keywords):
            self.asked.append((host, function, name))
            if function == "voip_pki.renew":
                (wanted,) = arguments
                now = datetime.datetime.now(datetime.UTC)
                end = now + datetime.timedelta(seconds=wanted["ttl_s"])
                return {"not_after": end.isoformat(), "life_s": wanted["ttl_s"] + 30}
            if function == "voip_tls.shown":
                return {"127.0.0.1:1": str(self.serial)}
            self.serial += self.shows
            seconds = self.seconds.get(name, 1.5)
            told = {"host": host, "name": name, "by": renew.BEACON, "outcome": self.outcome}
            record.append(renew.RECORD, told | {"seconds": seconds, "proof_s": 0.2, "why": "x"})
            return True

    found = Lab()
    monkeypatch.setattr(bench.client, "call", found.call)
    monkeypatch.setattr(bench, "_make_due", _due_now(bench._make_due))
    return found


def _due_now(make):
    """As it is, with the moment when it is due gone by."""

    def wrapped(*arguments):
        assert make(*arguments) <= time.time() + bench.LIFE_S
        return 0.0

    return wrapped


def test_each_alone_and_all_at_once(lab):
    numbers = {result.name: result for result in bench.run(2)}
    assert numbers["devstack redis, median"].value == 0.5
    assert numbers["sip-1 kamailio, slowest"].value == 1.5
    assert numbers["sip-1 kamailio, slowest"].goal == bench.GOAL_S
    count = len(renew.held(load(pillar_dir())))
    assert numbers[f"all {count} at once, the last of them, median"].value == 1.5
    assert numbers[f"all {count} at once, the last of them, median"].goal is None


def test_one_component_alone(lab):
    bench.run(1, "redis")
    assert {name for _, _, name in lab.asked} == {"redis"}
    with pytest.raises(Problem, match="No certificate is of rtpengine"):
        bench.run(1, "rtpengine")


def test_what_is_not_renewed_in_time_is_said(lab):
    lab.outcome = "failed"
    with pytest.raises(Problem, match="Not renewed within"):
        bench.run(1, "redis")


def test_a_record_without_a_new_certificate_is_no_result(lab):
    lab.shows = False
    with pytest.raises(Problem, match="certificate of before"):
        bench.run(1, "redis")
