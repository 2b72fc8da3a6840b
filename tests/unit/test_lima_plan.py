"""What limactl answers, parsed; what it is told, planned; both with a stand-in for limactl."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from voip_stack import paths
from voip_stack.pillar import Pillar, load
from voip_stack.problem import Problem
from voip_stack.providers.lima import plan
from voip_stack.providers.lima.limactl import Limactl
from voip_stack.providers.lima.provider import LimaProvider

PILLAR = load(paths.pillar_dir())
DATA = Path(__file__).parent / "lima"
INSTANCE = json.loads((DATA / "instance.json").read_text())
TEMPLATES = {"sip-1": Path("sip-1.yaml"), "pbx-1": Path("pbx-1.yaml")}


def guest(name, status, errors=()):
    return plan.Guest(name, status, errors=tuple(errors))


def listed(**statuses):
    return {name: guest(name, status) for name, status in statuses.items()}


def test_parse_guests_reads_one_object_a_line():
    rows = [INSTANCE | {"name": name} for name in ("a", "b")]
    found = plan.parse_guests("\n".join(map(json.dumps, rows)) + "\n")
    assert list(found) == ["a", "b"]
    assert found["a"] == plan.Guest("a", "Running", "aarch64", "vz")
    assert plan.parse_guests("") == {}


@pytest.mark.parametrize("text", ["no json", "[]", '{"status": "Running"}'])
def test_parse_guests_refuses(text):
    with pytest.raises(Problem, match="limactl list"):
        plan.parse_guests(text)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("limactl version 2.2.0", (2, 2, 0)),
        ("limactl version v1.0.3-12-gabc", (1, 0, 3)),
        ("limactl version <unknown>", (999,)),
    ],
)
def test_parse_version(text, version):
    assert plan.parse_version(text) == version


@pytest.mark.parametrize(
    ("guests", "expected"),
    [
        ({}, ["create sip-1", "start sip-1", "create pbx-1", "start pbx-1"]),
        ({"sip-1": "Stopped"}, ["start sip-1", "create pbx-1", "start pbx-1"]),
        ({"sip-1": "Running", "pbx-1": "Stopped"}, ["start pbx-1"]),
        ({"sip-1": "Running", "pbx-1": "Running", "other": "Stopped"}, []),
    ],
)
def test_plan_up(guests, expected):
    commands = plan.plan_up(listed(**guests), TEMPLATES)
    assert all("--tty=false" in command for command in commands)
    told = [
        f"{command[0]} {next(w for w in ('sip-1', 'pbx-1') if w in ' '.join(command))}"
        for command in commands
    ]
    assert told == expected


def test_plan_up_stops_at_a_broken_guest():
    broken = {"sip-1": guest("sip-1", "Broken", ["lima.yaml is missing"])}
    with pytest.raises(Problem, match="sip-1 is Broken") as caught:
        plan.plan_up(broken, TEMPLATES)
    assert caught.value.where == "lima.yaml is missing"
    assert "limactl delete --force sip-1" in caught.value.how


def test_plan_stop_and_destroy_leave_the_guests_of_others():
    guests = listed(**{"sip-1": "Running", "pbx-1": "Stopped", "default": "Running"})
    assert plan.plan_stop(guests, TEMPLATES) == [["stop", "sip-1"]]
    assert plan.plan_destroy(guests, TEMPLATES) == [
        ["delete", "--force", "sip-1"],
        ["delete", "--force", "pbx-1"],
    ]


def test_plan_networks_makes_what_is_missing():
    internal = {"voip-internal": {"mode": "shared", "gateway": "192.168.64.1"}}
    assert plan.plan_networks(PILLAR, {}) == [
        ["network", "create", "voip-internal", "--mode", "shared", "--gateway", "192.168.64.1/24"],
        ["network", "create", "voip-external", "--mode", "bridged", "--interface", "en0"],
    ]
    assert len(plan.plan_networks(PILLAR, internal)) == 1
    both = internal | {"voip-external": {"mode": "bridged", "interface": "en0"}}
    assert plan.plan_networks(PILLAR, both) == []


def test_a_network_of_that_name_that_is_another_is_not_touched():
    with pytest.raises(Problem, match=r"not shared 192\.168\.64\.1"):
        plan.plan_networks(PILLAR, {"voip-internal": {"mode": "shared", "gateway": "10.0.0.1"}})


def test_guest_argv_runs_as_root_in_a_directory_that_exists():
    assert plan.guest_argv("sip-1", ["cat", "a b"]) == [
        "shell", "--workdir", "/", "sip-1", "sudo", "--", "cat", "a b",
    ]  # fmt: skip


@pytest.fixture
def lima(tmp_path, monkeypatch):
    """A provider on a Mac with the stand-in for limactl; `.calls()` is what it was told."""
    home = tmp_path / "lima"
    home.mkdir()
    shutil.copy(DATA / "instance.json", home)
    monkeypatch.setenv("FAKE_LIMA", str(home))
    monkeypatch.setenv("VOIP_STATE_DIR", str(tmp_path / "state"))
    program = home / "limactl"
    # Without site packages the interpreter starts in a fraction of the time.
    program.write_text(f"#!{sys.executable} -IS\n{(DATA / 'limactl.py').read_text()}")
    program.chmod(0o755)
    provider = LimaProvider(PILLAR, Limactl(str(program)), system="Darwin")
    provider.home = home
    provider.calls = lambda: json.loads((home / "calls.json").read_text())
    return provider


def verbs(calls):
    return [call[0] for call in calls if call[0] in ("create", "start", "stop", "delete")]


def test_up_twice_and_destroy(lima):
    assert lima.problems() == []
    lima.prepare_network(print)
    hosts = lima.pillar.minions()
    assert verbs(lima.calls()) == ["create", "start"] * len(hosts)
    assert {guest.state for guest in lima.guests().values()} == {"running"}
    assert "voip-internal" in (lima.home / "sip-1.yaml").read_text()

    before = len(verbs(lima.calls()))
    lima.prepare_network(print)
    assert len(verbs(lima.calls())) == before, "a second run did something"

    lima.destroy(print)
    assert {guest.state for guest in lima.guests().values()} == {"absent"}
    lima.destroy(print)


def test_a_guest_that_was_stopped_is_started_again(lima):
    lima.prepare_network(print)
    lima.limactl.act(["stop", "media-1"])
    assert lima.guests()["media-1"].state == "stopped"
    lima.prepare_network(print)
    assert lima.calls()[-1] == ["start", "--tty=false", "media-1"]


def test_a_failed_start_says_limactls_last_words(lima):
    (lima.home / "fail.json").write_text('{"start": "did not receive an event with the Running"}')
    with pytest.raises(Problem, match=r"start --tty=false sip-1 failed \(1\)") as caught:
        lima.prepare_network(print)
    assert "did not receive an event" in caught.value.where


def test_a_failed_list_is_no_empty_list(lima):
    (lima.home / "fail.json").write_text('{"list": "permission denied"}')
    with pytest.raises(Problem, match="failed"):
        lima.guests()


def test_linux_needs_user_mode_networks(lima):
    lima.system = "Linux"
    assert [problem.what for problem in lima.problems()] == [
        "Lima's shared and bridged networks exist on macOS only",
        "vmType vz exists on macOS only",
    ]


def test_user_mode_keeps_limas_own_addresses(lima):
    settings = PILLAR.model_dump(by_alias=True)
    settings["providers"]["lima"]["networks"]["internal"]["mode"] = "user-v2"
    lima.pillar = Pillar.model_validate(settings)
    assert lima.master_address == "127.0.0.1"
    assert lima.master_for("sip-1") == "192.168.64.2"
    assert [problem.what for problem in lima.problems()] == [
        "192.168.64.2 is Lima's own in a user-v2 network"
    ]


def test_without_limactl(lima):
    lima.limactl = Limactl("no-such-limactl")
    assert [problem.what for problem in lima.problems()] == ["limactl is not installed"]
    assert {guest.state for guest in lima.guests().values()} == {"absent"}
    lima.destroy(print)


def test_an_old_limactl_is_refused(lima, monkeypatch):
    monkeypatch.setattr(plan, "MINIMUM_VERSION", (3, 0, 0))
    assert [problem.what for problem in lima.problems()] == ["limactl 3.0.0 or newer is needed"]
