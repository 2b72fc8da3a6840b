"""The state's three beats, and what the module reads of a host, without a host."""

import importlib.util
import sys
from pathlib import Path

import pytest
import yaml
from salt.exceptions import CommandExecutionError

CHECKOUT = Path(__file__).parents[2]
sys.path[:0] = [str(CHECKOUT / "_utils")]

PLAN = {"verdict": "kernel", "reason": "", "packages": [], "build": [], "next": "", "version": "1"}
RUNNING, NEXT = "6.1.0-50-amd64", "6.1.0-56-amd64"
CHANGE = {"loaded": {"old": "", "new": "10.5.3.5"}}


def load(kind, **dunders):
    """A fresh copy of _<kind>/rtpengine_module.py with these dunders."""
    path = CHECKOUT / f"_{kind}/rtpengine_module.py"
    spec = importlib.util.spec_from_file_location(f"rtpengine_module_{kind}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, value in dunders.items():
        setattr(module, f"__{name}__", value)
    return module


class Host:
    """The execution module as the state sees it: a plan, and changes until `apply`."""

    def __init__(self, plan=None, changes=None, error=None, left=None):
        self.plan = PLAN | (plan or {})
        self.changes, self.error, self.left = changes or {}, error, left or {}
        self.applied, self.events = [], []

    def functions(self):
        return {
            "rtpengine_module.diff": lambda: (self.plan, self.changes),
            "rtpengine_module.apply": self.apply,
            "voip_event.send": lambda kind, **data: self.events.append((kind, data)),
        }

    def apply(self, changes, version):
        self.applied.append((dict(changes), version))
        if self.error:
            raise CommandExecutionError(self.error)
        self.changes = self.left

    def state(self, test=False):
        grains = {"kernelrelease": RUNNING}
        module = load("states", salt=self.functions(), opts={"test": test}, grains=grains)
        return module.built("kernel")


def test_already_so():
    host = Host()
    ret = host.state()
    assert (ret["result"], ret["changes"]) == (True, {})
    assert host.applied == []


@pytest.mark.parametrize("verdict", ["unsupported", "disabled"])
def test_not_for_this_host(verdict):
    host = Host(plan={"verdict": verdict, "reason": "shared kernel"}, changes=CHANGE)
    ret = host.state()
    assert (ret["result"], ret["changes"]) == (True, {})
    assert ret["comment"] == f"{verdict}: shared kernel"
    assert host.applied == host.events == []


def test_predicted():
    host = Host(changes=CHANGE)
    ret = host.state(test=True)
    assert (ret["result"], ret["changes"]) == (None, CHANGE)
    assert host.applied == []


def test_applied():
    host = Host(changes=CHANGE)
    ret = host.state()
    assert (ret["result"], ret["changes"]) == (True, CHANGE)
    assert host.applied == [(CHANGE, "1")]
    assert host.events == []


def test_reboot_is_told_not_guessed():
    change = {"module for 6.1.0-56-amd64": {"old": "", "new": "10.5.3.5"}}
    host = Host(plan={"verdict": "reboot required", "reason": "because"}, changes=change)
    ret = host.state()
    assert (ret["result"], ret["changes"]) == (True, change)
    assert ret["comment"] == "reboot required: because"


@pytest.mark.parametrize("verdict", ["wrong headers", "no headers", "kernel upgrade required"])
@pytest.mark.parametrize("test", [False, True])
def test_impossible(verdict, test):
    host = Host(plan={"verdict": verdict, "reason": "because"}, changes=CHANGE)
    ret = host.state(test)
    assert (ret["result"], ret["changes"]) == (False, {})
    assert ret["comment"] == f"{verdict}: because"
    assert host.applied == []
    assert len(host.events) == (0 if test else 1)


def test_failed_build_raises_an_event():
    host = Host(changes=CHANGE, error="building for 6.1: error: x (log: /var/log/y)")
    ret = host.state()
    assert (ret["result"], ret["changes"]) == (False, {})
    assert host.events == [("kernel/build-failed", {"release": RUNNING, "reason": ret["comment"]})]


def test_the_event_names_the_kernel_that_has_no_module():
    host = Host(plan={"build": [NEXT]}, changes=CHANGE, error=f"one\n  {'long ' * 100}")
    host.state()
    ((_, data),) = host.events
    assert data["release"] == NEXT
    assert data["reason"].startswith("one long long")
    assert len(data["reason"]) == 300


def test_what_stays_undone_is_named():
    host = Host(changes=CHANGE, left={"daemon": {"old": "user space", "new": "table 0"}})
    ret = host.state()
    assert ret["result"] is False
    assert "daemon" in ret["comment"]
    assert host.events


@pytest.fixture
def module(tmp_path, monkeypatch):
    pillar = {"voip": {"rtpengine": {}, "ports": {"rtpengine": {"rtp": [30000, 39999]}}}}
    found = load("modules", salt={}, opts={}, pillar=pillar)
    monkeypatch.setattr(found, "_CONTAINER", str(tmp_path / "container"))
    return found


def test_container_is_unsupported_and_asks_nothing(module, tmp_path, monkeypatch):
    (tmp_path / "container").touch()
    monkeypatch.setattr(module, "run", lambda *_, **__: pytest.fail("a command ran"))
    assert module.diff()[1] == {}
    status = module.status()
    assert (status["verdict"], status["reason"]) == ("unsupported", "shared kernel")
    assert status["is_forwarding"] is False
    assert module.wanted() == {"mode": "userspace", "reason": "shared kernel"}


def test_wanted(module):
    assert module.wanted()["mode"] == "kernel"
    module.__pillar__["voip"]["rtpengine"]["kernel_module"] = False
    assert module.wanted()["mode"] == "userspace"


def test_rule_covers_the_rtp_ports_only(module):
    assert "--dport 30000:39999 -j RTPENGINE --id 0" in " ".join(module._rule())


@pytest.fixture
def work(module, monkeypatch):
    """A module whose every act is recorded; `work.failing` names the kernels that do not build."""

    class Work:
        done, failing, have = [], [], []

        def build(self, release, version):
            if release in self.failing:
                raise CommandExecutionError(f"building for {release}: error: x")
            self.done.append(f"build {release}")
            self.have.append(release)

    found = Work()
    found.done, found.failing, found.have, found.module = [], [], [], module
    uname = type("Uname", (), {"release": RUNNING})
    monkeypatch.setattr(module.os, "uname", lambda: uname)
    monkeypatch.setattr(module.voip_kernel_build, "build", found.build)
    monkeypatch.setattr(
        module.voip_kernel_build, "built", lambda release: "1" if release in found.have else ""
    )
    monkeypatch.setattr(module, "_files", dict)
    monkeypatch.setattr(module, "_load", lambda: found.done.append("load"))
    monkeypatch.setattr(module, "must", lambda argv, what: found.done.append(what))
    monkeypatch.setattr(module.voip_kernel_rule, "drop", lambda: found.done.append("drop"))
    return found


BOTH = {f"module for {RUNNING}": {}, f"module for {NEXT}": {}} | CHANGE


@pytest.mark.parametrize(
    ("failing", "done"),
    [
        ([], [f"build {RUNNING}", f"build {NEXT}", "load", "drop", "The rule for RTP packets"]),
        # The next kernel's failure keeps nobody from using the running one's module.
        ([NEXT], [f"build {RUNNING}", "load", "drop", "The rule for RTP packets"]),
        ([RUNNING], [f"build {NEXT}"]),
        ([RUNNING, NEXT], []),
    ],
)
def test_a_failed_build_stops_only_what_needs_it(work, failing, done):
    work.failing = failing
    if failing:
        with pytest.raises(CommandExecutionError, match=f"building for {failing[0]}"):
            work.module.apply(BOTH, "1")
    else:
        work.module.apply(BOTH, "1")
    assert work.done == done


@pytest.mark.parametrize(
    ("plan", "is_forwarding", "reason", "problem"),
    [
        ({"build": [], "next": RUNNING}, True, "", ""),
        ({"build": [], "next": RUNNING}, False, "not loaded", "user space: not loaded"),
        ({"build": [NEXT], "next": NEXT}, True, "", f"{NEXT} boots next, and the module is not"),
    ],
)
def test_what_status_says_loudly(module, plan, is_forwarding, reason, problem):
    said = module._problem(plan, is_forwarding, reason)
    assert problem in said
    assert bool(said) is bool(problem)


def test_refused_key_says_what_to_do(module, monkeypatch):
    class Done:
        returncode = 1
        stderr = "modprobe: ERROR: could not insert 'xt_RTPENGINE': Key was rejected by service"

    monkeypatch.setattr(module, "run", lambda *_, **__: Done)
    with pytest.raises(CommandExecutionError, match="mokutil --import"):
        module._modprobe()


CHANGES = yaml.safe_load((Path(__file__).parent / "kernel_changes.yaml").read_text())
DONE = {
    "plan": {"build": [], "packages": []}, "built": {"6.1.0-50-arm64": "10.5.3.5"},
    "installed": "all", "files": "written", "is_enabled": True, "is_loaded": True,
    "is_current": True,
    "rules": "ours", "table": [4, 77], "pid": 77, "sessions": 0,
}  # fmt: skip
_PACKAGES = ("rtpengine-daemon", "rtpengine-kernel-dkms", "rtpengine-iptables", "iptables")
_ALL = dict.fromkeys(_PACKAGES, "10.5.3.5-1")
INSTALLED = {
    "nothing": {}, "the daemon": {"rtpengine-daemon": "10.5.3.5-1"}, "all": _ALL,
    "a newer daemon": _ALL | {"rtpengine-daemon": "10.5.3.6-1"},
}  # fmt: skip


@pytest.mark.parametrize("case", CHANGES, ids=[case["name"] for case in CHANGES])
def test_diff(module, monkeypatch, tmp_path, case):
    have = DONE | (case.get("have") or {})
    plan = PLAN | have["plan"]
    rule = f"-A {' '.join(module._rule())}"
    rules = {"ours": [rule], "absent": [], "two": [rule, rule.replace("--id 0", "--id 7")]}
    exists = module.os.path.exists
    fakes = {
        "plan": lambda: plan, "_installed": lambda: INSTALLED[have["installed"]],
        "_files": lambda: {"/etc/a": "text"}, "_is_loaded": lambda: have["is_loaded"],
        "read": lambda path: "text" if have["files"] == "written" else "",
        "_is_current": lambda release: have["is_current"], "_daemon_pid": lambda: have["pid"],
        "_table": lambda: tuple(have["table"]), "_sessions": lambda: have["sessions"],
    }  # fmt: skip
    for name, fake in fakes.items():
        monkeypatch.setattr(module, name, fake)
    monkeypatch.setattr(
        module.voip_kernel_build, "built", lambda release: have["built"].get(release, "")
    )
    monkeypatch.setattr(module.voip_kernel_rule, "present", lambda tool: rules[have["rules"]])
    monkeypatch.setattr(module.voip_kernel_rule, "tools", lambda: ("iptables", "ip6tables"))
    monkeypatch.setattr(
        module.os.path, "exists",
        lambda path: have["is_enabled"] if str(path).endswith(module.UNIT) else exists(path),
    )  # fmt: skip
    uname = type("Uname", (), {"release": "6.1.0-50-arm64"})
    monkeypatch.setattr(module.os, "uname", lambda: uname)
    assert list(module.diff()[1]) == case["changes"]
