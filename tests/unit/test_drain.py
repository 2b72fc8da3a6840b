"""`./voip drain`: what is recorded, refused and waited for; and the media host's own part."""

import importlib.util
import json
import sys

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError
from typer.testing import CliRunner

from voip_stack import deployment, drain, paths
from voip_stack.cli import app
from voip_stack.master.client import Job
from voip_stack.pillar import compile_for, load
from voip_stack.problem import Problem
from voip_stack.repair import state

sys.path.append(str(paths.checkout() / "_utils"))
_SPEC = importlib.util.spec_from_file_location(
    "rtpengine_relays", paths.checkout() / "_modules/rtpengine_relays.py"
)
relays = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(relays)


@pytest.fixture(autouse=True)
def platform(monkeypatch, tmp_path):
    """{orders: what was orchestrated, carried: what each media host says that it carries}."""
    monkeypatch.setenv("VOIP_STATE_DIR", str(tmp_path))
    monkeypatch.setattr(drain, "POLL_S", 0)
    known = {"orders": [], "carried": [{"media-1": {"media-1": 0}, "media-2": {"media-2": 0}}]}

    def orchestrate(name, step, pillar):
        known["orders"].append((name, pillar["drain"]["host"], pillar["drain"]["what"]))

    def run(hosts, function, deadline_s):
        said = known["carried"].pop(0) if len(known["carried"]) > 1 else known["carried"][0]
        return Job(returns={host: said[host] for host in hosts if host in said})

    monkeypatch.setattr(drain.converge, "orchestrate", orchestrate)
    monkeypatch.setattr(drain.client, "run", run)
    return known


def run(*words):
    return CliRunner().invoke(app, list(words))


def test_drained_is_recorded_for_the_pillar_and_undone(platform):
    done = run("drain", "media-1", "--json")
    assert json.loads(done.stdout)["state"] == "drained"
    assert list(deployment.read()["drained"]) == ["media-1"]
    assert state.maintenance()["media-1"]["reason"] == "drained"
    assert run("drain", "media-1").exit_code == 0, "drained twice is drained"
    assert run("drain", "media-1", "--undo").exit_code == 0
    assert "drained" not in deployment.read()
    assert state.maintenance() == {}
    assert platform["orders"] == [("drain", "media-1", what) for what in ("begin", "begin", "undo")]


def test_another_maintenance_stays(platform):
    run("drain", "media-1")
    state.maintain("media-1", 60, "a disk")
    run("drain", "media-1", "--undo")
    assert state.maintenance()["media-1"]["reason"] == "a disk"


@pytest.mark.parametrize("host", ["pbx-1", "sip-1"])
def test_only_media_hosts(host):
    with pytest.raises(Problem, match=f"{host} is no media host"):
        drain.begin(host, print)
    with pytest.raises(Problem, match=f"{host} is no media host"):
        drain.undo(host, print)


def test_the_last_one_is_not_drained(platform):
    drain.begin("media-1", print)
    with pytest.raises(Problem, match="media-2 is the last media host"):
        drain.begin("media-2", print)
    assert list(drain.drained()) == ["media-1"]


def test_legs_count_wherever_the_relay_is(platform):
    platform["carried"] = [{"media-1": {"media-1": 2, "media-2": 3}, "media-2": {}}]
    assert drain.sessions("media-1") == 5
    assert drain.sessions("media-2") == 3
    platform["carried"] = [{"media-2": {}}]
    with pytest.raises(Problem, match="media-1 does not say"):
        drain.sessions("media-1")


def test_it_waits_for_the_last_leg(platform, monkeypatch):
    platform["carried"] = [
        {"media-1": {"media-1": left}, "media-2": {"media-2": 9}} for left in (4, 2, 0)
    ]
    said = []
    step = type("Step", (), {"say": lambda self, text: said.append(text)})()
    drain.wait("media-1", 60, step)
    assert said == ["4 legs left", "2 legs left"]


def test_it_does_not_wait_for_ever(platform):
    platform["carried"] = [{"media-1": {"media-1": 1}, "media-2": {}}]
    step = type("Step", (), {"say": lambda self, text: None})()
    with pytest.raises(Problem, match="still carries 1 legs"):
        drain.wait("media-1", 0.01, step)
    assert state.maintenance() == {}


# ---------------------------------------------------------------- on the host
@pytest.fixture
def host(monkeypatch, tmp_path):
    """media-2, with both relays on it: {here: addresses, answers: relays that answer elsewhere}."""
    voip = compile_for(load(paths.pillar_dir()), "media-2", {})
    by_address = {relay["internal"]: relay["name"] for relay in voip["relays"]}
    known = {"here": set(by_address), "takes": True, "legs": {"media-1": 0, "media-2": 4}}
    monkeypatch.setattr(relays.voip_relays, "HELD_DIRECTORY", str(tmp_path / "held"))
    monkeypatch.setattr(relays.voip_relays, "is_here", lambda address: address in known["here"])
    monkeypatch.setattr(relays, "__pillar__", {"voip": voip}, raising=False)
    real = relays._hold

    def hold(name, is_held):
        real(name, is_held)
        if is_held and known["takes"]:
            known["here"] -= {a for a, relay in by_address.items() if relay == name}

    def statistics(name):
        return {"": {"current": {"sessionsown": known["legs"][name]}}}

    functions = {"rtpengine.ping": lambda name: {name: 1.0}, "rtpengine.statistics": statistics}
    monkeypatch.setattr(relays, "_hold", hold)
    monkeypatch.setattr(relays, "__salt__", functions, raising=False)
    real_give = relays._give
    monkeypatch.setattr(relays, "_give", lambda item: real_give(item, timeout_s=0.3))
    return known


def test_what_is_here_with_its_legs(host):
    assert relays.here() == {"media-2": 4, "media-1": 0}


def test_a_relay_goes_home_and_may_come_again(host):
    assert relays.send_home("media-1") is True
    assert relays.here() == {"media-2": 4}
    assert relays.held() == []
    assert relays.send_home("media-1") is False


def test_only_idle_relays_of_others_are_sent(host):
    host["legs"] = {"media-1": 1, "media-2": 0}
    assert relays.send_idle_home() == []
    host["legs"]["media-1"] = 0
    assert relays.send_idle_home() == ["media-1"]


def test_a_relay_that_nobody_takes_stays(host):
    host["takes"] = False
    with pytest.raises(CommandExecutionError, match="no other host takes relay media-1"):
        relays.hold_off()
    assert relays.held() == [], "its calls are here: it must not be kept away"


def test_a_host_that_holds_off_takes_nothing_over_until_it_takes_part(host):
    assert relays.hold_off() == ["media-1"]
    assert relays.held() == ["media-1"]
    relays.take_part()
    assert relays.held() == []


@pytest.mark.parametrize("name", ["media-2", "pbx-1"])
def test_only_anothers_relay_is_sent_home(host, name):
    with pytest.raises(SaltInvocationError):
        relays.send_home(name)
