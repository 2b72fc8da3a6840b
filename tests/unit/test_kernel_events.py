"""The beacon on installed kernels, and what the master does about what it says."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from voip_stack.events import kernel, locks, security
from voip_stack.paths import pillar_dir
from voip_stack.pillar import load
from voip_stack.pillar.beacons import compile_beacons

CHECKOUT = Path(__file__).parents[2]
RUNNING, NEXT = "6.1.0-50-cloud-arm64", "6.1.0-56-cloud-arm64"


@pytest.fixture
def beacon(tmp_path, monkeypatch):
    """The beacon on a machine whose /boot and module tree are below tmp_path."""
    monkeypatch.syspath_prepend(str(CHECKOUT / "_utils"))
    spec = importlib.util.spec_from_file_location("b", CHECKOUT / "_beacons/voip_kernels.py")
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = before
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot" / f"vmlinuz-{RUNNING}").touch()
    uname = type("Uname", (), {"release": RUNNING})
    monkeypatch.setattr(module, "_BOOT", str(tmp_path / "boot"))
    monkeypatch.setattr(module, "_CONTAINER", str(tmp_path / "container"))
    monkeypatch.setattr(module.voip_kernel_build, "_MODULES", str(tmp_path / "modules"))
    monkeypatch.setattr(module.os, "uname", lambda: uname)
    monkeypatch.setattr(module.voip_event, "signed", lambda opts, kind, **data: {"data": data})
    module.__opts__ = {}
    return module


def install(tmp_path, release=NEXT):
    (tmp_path / "boot" / f"vmlinuz-{release}").touch()


def ask(beacon, settle_s=0, repeat_s=3600):
    return beacon.beacon([{"interval": 60}, {"settle_s": settle_s}, {"repeat_s": repeat_s}])


def test_silent_without_a_newer_kernel(beacon, tmp_path):
    assert ask(beacon) == []
    install(tmp_path, "6.1.0-9-cloud-arm64")
    assert ask(beacon) == []


def test_tells_once_of_a_kernel_without_module(beacon, tmp_path):
    install(tmp_path)
    assert ask(beacon) == [{"tag": "kernel/installed", "data": {"release": NEXT}}]
    assert ask(beacon) == []
    assert ask(beacon, repeat_s=0)  # the build did not come about


def test_dkms_own_hook_comes_first(beacon, tmp_path):
    install(tmp_path)
    assert ask(beacon, settle_s=120) == []


@pytest.mark.parametrize("place", ["updates/dkms", "updates/voip"])
def test_silent_once_it_is_built(beacon, tmp_path, place):
    install(tmp_path)
    tree = tmp_path / "modules" / NEXT / place
    tree.mkdir(parents=True)
    (tree / "xt_RTPENGINE.ko").touch()
    assert ask(beacon) == []


def test_silent_in_a_container(beacon, tmp_path):
    install(tmp_path)
    (tmp_path / "container").touch()
    assert ask(beacon) == []


def test_its_settings_are_known_to_it(beacon):
    pillar = load(pillar_dir())
    assert "voip_kernels" not in compile_beacons(pillar, "sip-1", pillar.components_of("sip-1"))
    settings = compile_beacons(pillar, "media-1", pillar.components_of("media-1"))["voip_kernels"]
    assert beacon.validate(settings) == (True, "valid")
    assert beacon.validate([{"else": 1}])[0] is False


@pytest.fixture
def master(tmp_path, monkeypatch):
    """What the handlers do: orchestrations run, alerts and security events recorded."""
    monkeypatch.setenv("VOIP_STATE_DIR", str(tmp_path))
    monkeypatch.setattr(security, "_minute", {})

    class Master:
        def __init__(self):
            self.runs = []

        def recorded(self, name):
            file = tmp_path / "events" / f"{name}.jsonl"
            lines = file.read_text().splitlines() if file.exists() else []
            return [json.loads(line) for line in lines]

    found = Master()
    monkeypatch.setattr(kernel.orchestrate, "run", lambda name, to: found.runs.append((name, to)))
    return found


def test_a_new_kernel_is_built_for(master):
    kernel.installed("media-1", kernel.Installed(release=NEXT))
    assert master.runs == [("kernel", {"host": "media-1"})]


def test_one_build_at_a_time(master):
    with locks.one_at_a_time("kernel/media-1"):
        kernel.installed("media-1", kernel.Installed(release=NEXT))
    assert master.runs == []


def test_a_host_without_rtpengine_has_no_say(master):
    kernel.installed("pbx-1", kernel.Installed(release=NEXT))
    kernel.build_failed("pbx-1", kernel.BuildFailed(release=NEXT, reason="x"))
    assert master.runs == master.recorded("alerts") == []
    assert {item["kind"] for item in master.recorded("security")} == {"event/not-its-own"}


def test_a_failed_build_is_an_alert(master):
    kernel.build_failed("media-1", kernel.BuildFailed(release=NEXT, reason="error: no member x"))
    (alert,) = master.recorded("alerts")
    assert (alert["kind"], alert["host"]) == ("kernel/build-failed", "media-1")
    assert "error: no member x" in alert["detail"]
    assert "user space" in alert["detail"]


@pytest.mark.parametrize("release", ["", "6.1; reboot", "../etc", "6.1\n", "a" * 80, "vmlinuz"])
def test_what_is_no_release_is_refused(release):
    with pytest.raises(ValidationError):
        kernel.Installed(release=release)


@pytest.mark.parametrize("reason", ["a\nb", "\x1b[31m", "x" * 301])
def test_what_is_no_line_is_refused(reason):
    with pytest.raises(ValidationError):
        kernel.BuildFailed(release=NEXT, reason=reason)
