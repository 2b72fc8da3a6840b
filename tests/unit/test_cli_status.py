"""`./voip status`: what a host reports, and what counts as well."""

import importlib.util
import json
import sys

import pytest
from typer.testing import CliRunner

from voip_stack import health, paths, providers
from voip_stack.cli import app
from voip_stack.health import Component, Health
from voip_stack.providers.base import Lab

sys.path.append(str(paths.checkout() / "_utils"))
# By its file: a state and a module may have one name.
_SPEC = importlib.util.spec_from_file_location(
    "voip_status_module", paths.checkout() / "_modules/voip_status.py"
)
voip_status = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(voip_status)

PACKAGE = {
    "version": "6.0.1", "minimum": "5.7.0", "safe": "5.7.0", "why": "x", "ok": True, "problem": "",
    "source": "backport",
}  # fmt: skip


@pytest.fixture
def host(monkeypatch):
    """voip_status as the loader would have it on a media and a sip host at once."""

    def make(here=("10.0.0.1",), **packages):
        relay = {"name": "media-1", "internal": "10.0.0.1", "floats": True}
        own = {"name": "media-1", "components": list(packages)}
        settings = {"cli_port": 2224, "failover": {"first_router": 51}}
        voip = {"self": own, "relays": [relay], "rtpengine": settings}
        pillar = {"voip": voip}
        functions = {
            "voip_package.status": lambda: {name: p for name, p in packages.items() if p},
            "rtpengine.forwarding": lambda: {
                "mode": "userspace",
                "reason": "shared kernel",
                "problem": "",
            },
        }
        monkeypatch.setattr(voip_status, "__pillar__", pillar, raising=False)
        monkeypatch.setattr(voip_status.voip_relays, "is_here", lambda address: address in here)
        monkeypatch.setattr(voip_status, "__salt__", functions, raising=False)
        monkeypatch.setattr(voip_status, "_active", lambda units: dict.fromkeys(units, "active"))
        return voip_status.report()

    return make


def test_report_joins_package_and_unit(host):
    found = host(kamailio=PACKAGE)["kamailio"]
    assert found["unit"] == "kamailio.service"
    assert (found["active"], found["version"], found["is_safe"]) == ("active", "6.0.1", True)


def test_rtpengine_says_where_it_forwards(host):
    found = host(rtpengine=PACKAGE)["rtpengine"]
    assert found["unit"] == "rtpengine-daemon.service"
    assert found["note"] == "userspace: shared kernel; relays: media-1"
    assert found["active"] == "active"


def test_a_relay_that_is_elsewhere_is_standby(host):
    found = host(here=(), rtpengine=PACKAGE)["rtpengine"]
    assert found["note"].endswith("relays: none")
    assert found["active"] == "standby"
    assert Component(host="media-1", name="rtpengine", **found).is_up


def test_refused_version_is_unsafe_with_the_reason(host):
    found = host(kamailio=PACKAGE | {"ok": False, "problem": "below 5.7.0"})["kamailio"]
    assert found["is_safe"] is False
    assert found["problem"] == "below 5.7.0"


@pytest.mark.parametrize(("sealed", "problem"), [(True, "sealed"), (False, "")])
def test_sealed_vault_is_a_problem(host, monkeypatch, sealed, problem):
    host(openbao=PACKAGE)
    monkeypatch.setitem(voip_status.__salt__, "voip_vault.status", lambda: {"sealed": sealed})
    assert voip_status.report()["openbao"]["problem"] == problem


def test_missing_component_is_no_version_and_not_judged(host):
    found = host(kamailio=None)["kamailio"]
    assert found["version"] is None
    assert found["is_safe"] is None


def component(**values):
    base = {
        "host": "sip-1", "name": "kamailio", "unit": "kamailio.service", "active": "active",
        "version": "6.0.1", "minimum": None, "safe": "5.7.0", "why": None, "is_safe": True,
        "source": "backport",
    }  # fmt: skip
    return Component(**(base | values))


def deployment(**values):
    base = Health("lab", "2030-01-01", {"running": True, "pid": 1})
    base.guests = {"sip-1": {"state": "running", "internal": "192.168.64.10", "external": None}}
    base.minions = {"sip-1": True}
    base.components = [component()]
    for name, value in values.items():
        setattr(base, name, value)
    return base


@pytest.mark.parametrize(
    "worse",
    [
        {"converged": None},
        {"master": {"running": False, "pid": None}},
        {"guests": {"sip-1": {"state": "stopped"}}},
        {"minions": {"sip-1": False}},
        {"components": [component(active="failed")]},
        {"components": [component(is_safe=False)]},
        {"components": [component(problem="sealed")]},
        {"unavailable": {"asterisk": "tried local: none"}},
    ],
)
def test_one_bad_part_is_not_well(worse):
    assert deployment().is_ok
    assert not deployment(**worse).is_ok


def test_status_shows_and_exits_by_health(monkeypatch):
    sick = deployment(
        components=[component(active="failed")], unavailable={"asterisk": "tried local: none"}
    )
    monkeypatch.setattr(health, "look", lambda: sick)
    shown = CliRunner().invoke(app, ["status"])
    assert shown.exit_code == 1
    for expected in ("sip-1", "kamailio", "failed", "6.0.1", "unavailable: asterisk: tried local"):
        assert expected in shown.stdout
    found = json.loads(CliRunner().invoke(app, ["status", "--json"]).stdout)
    assert found["ok"] is False
    assert found["components"][0]["active"] == "failed"


def lab(**values):
    base = {
        "name": "voip-0a1b2c3d", "state": "running", "user": "ci", "checkout": "/srv/[ci]/clone",
        "created": "2030-01-01T00:00:00+0000", "guests": 5, "memory_mib": 3000, "disk_mib": 5000,
    }  # fmt: skip
    return Lab(**(base | values))


def test_all_lists_every_lab_whose_and_what_it_uses(monkeypatch):
    labs = [lab(), lab(name="voip-ffffffff", state="stopped, checkout gone", guests=0)]
    monkeypatch.setattr(providers, "labs_of_the_machine", lambda: labs)
    shown = CliRunner().invoke(app, ["status", "--all"])
    assert shown.exit_code == 0
    for expected in ("voip-0a1b2c3d", "ci", "/srv/[ci]/clone", "3000", "5000", "checkout gone"):
        assert expected in shown.stdout
    found = json.loads(CliRunner().invoke(app, ["status", "--all", "--json"]).stdout)
    assert [item["state"] for item in found] == ["running", "stopped, checkout gone"]


def test_all_without_a_lab(monkeypatch):
    monkeypatch.setattr(providers, "labs_of_the_machine", list)
    assert "no lab" in CliRunner().invoke(app, ["status", "--all"]).stdout
    assert json.loads(CliRunner().invoke(app, ["status", "--all", "--json"]).stdout) == []


def test_destroying_a_lab_that_is_not_there_says_where_the_others_are(monkeypatch, tmp_path):
    monkeypatch.setenv("VOIP_STATE_DIR", str(tmp_path))
    done = CliRunner().invoke(app, ["destroy", "--lab", "voip-00000000", "--yes"])
    assert done.exit_code == 1
    assert "There is no lab voip-00000000" in done.stderr
    assert "status --all" in done.stderr
