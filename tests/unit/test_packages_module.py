"""voip_package on a host: compared, refused, installed; the three beats of the state.

dpkg and apt are files and one function here; tests/lab installs for real.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError

from tests.unit.packages_fixtures import make_deb
from voip_stack.packages.repository import write_index

CHECKOUT = Path(__file__).parents[2]
sys.path[:0] = [str(CHECKOUT / "_utils")]

STATUS = """\
Package: kamailio
Status: install ok installed
Priority: optional
Architecture: amd64
Version: 6.0.1-1+deb13u2~voip12+1
Description: SIP server
 Version: this is no field

Package: kamailio-tls-modules
Status: install ok half-configured
Version: 6.0.1-1+deb13u2~voip12+1

Package: rtpengine-daemon
Status: install ok installed
Version: 10.5.3.5-1

Package: removed
Status: deinstall ok config-files
Version: 1.0
"""
BACKPORT = {
    "sources": ["backport"],
    "install": ["kamailio", "kamailio-tls-modules"],
    "source": "backport",
    "suite": "bookworm",
    "arch": "amd64",
    "debs": {
        "kamailio": "6.0.1-1+deb13u2~voip12+1",
        "kamailio-tls-modules": "6.0.1-1+deb13u2~voip12+1",
    },
}
PILLAR = {
    "self": {"components": ["kamailio", "rtpengine", "openbao", "gone"]},
    "packages": {
        "kamailio": BACKPORT,
        "rtpengine": {"sources": ["debian"], "install": ["rtpengine-daemon"]},
        "gone": {
            "sources": ["vendor"],
            "install": ["gone"],
            "source": None,
            "tried": [{"source": "vendor", "result": "no answer"}],
        },
    },
    "versions": {
        "kamailio": {"minimum": "5.7", "safe": "6.0.6", "why": "CVE-2026-39863",
                     "mended": {"6.0.1-": "6.0.1-1+deb13u2~"}},
        "rtpengine": {"minimum": "10.5", "safe": "13.4.1.1", "why": "CVE-2025-53399",
                      "mended": {"10.5.3.5-": "10.5.3.5-1+deb12u1"}},
        "openbao": {"minimum": "2.4.0", "safe": "2.4.4", "why": "CVE-2025-64761"},
    },
}  # fmt: skip


def load(kind):
    path = CHECKOUT / kind / "voip_package.py"
    spec = importlib.util.spec_from_file_location(f"{kind}_voip_package", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Host:
    """A host's dpkg status, apt and served repository, in one directory."""

    def __init__(self, root, module):
        self.root, self.module, self.commands = root, module, []
        self.candidates = {"rtpengine-daemon": "10.5.3.5-1+deb12u1"}
        self.output, self.code = "", 0
        self.status = root / "status"
        self.status.write_text(STATUS)
        (root / "lists" / "partial").mkdir(parents=True)
        (root / "lists" / "mirror_dists_bookworm_main_binary-amd64_Packages").touch()

    def run(self, argv):
        self.commands.append(argv)
        if argv[:2] == ["apt-cache", "policy"]:
            text = "".join(
                f"{name}:\n  Installed: (none)\n  Candidate: {self.candidates[name]}\n"
                for name in argv[2:]
                if name in self.candidates
            )
            return subprocess.CompletedProcess(argv, 0, text)
        if "install" in argv and not self.code:
            assert (self.root / "policy-rc.d").read_text().endswith("exit 101\n")
            for name, version in (
                item.split("=") for item in argv if "=" in item and "::" not in item
            ):
                paragraph = f"\nPackage: {name}\nStatus: install ok installed\nVersion: {version}\n"
                kept = [
                    part
                    for part in self.status.read_text().split("\n\n")
                    if not part.strip().startswith(f"Package: {name}\n")
                ]
                self.status.write_text("\n\n".join(kept) + "\n" + paragraph)
            stamp = self.status.stat().st_mtime_ns + 1_000_000
            os.utime(self.status, ns=(stamp, stamp))
        return subprocess.CompletedProcess(argv, self.code, self.output)

    def cache_file(self, url, saltenv="base"):
        assert saltenv == "packages"
        path = self.root / "served" / url.removeprefix("salt://")
        return str(path) if path.exists() else ""

    def apt(self, word):
        return [argv for argv in self.commands if word in argv]


@pytest.fixture
def host(tmp_path, monkeypatch):
    module = load("_modules")
    found = Host(tmp_path, module)
    places = {
        "_STATUS": "status", "_LISTS": "lists", "_REPOSITORIES": "repositories",
        "_SOURCES": "sources", "_KEYRINGS": "keyrings", "_POLICY": "policy-rc.d",
    }  # fmt: skip
    for name, place in places.items():
        monkeypatch.setattr(module, name, str(tmp_path / place))
    monkeypatch.setattr(module, "_run", found.run)
    module.__pillar__ = {"voip": PILLAR}
    module.__context__ = {}
    module.__salt__ = {"cp.cache_file": found.cache_file, "openbao.version": lambda: "2.7.2"}
    return found


@pytest.fixture
def state(host):
    module = load("_states")
    module.__opts__ = {"test": False}
    module.__salt__ = {
        f"voip_package.{name}": getattr(host.module, name) for name in ("diff", "install")
    }
    return module


def serve(host):
    directory = host.root / "served" / "bookworm-amd64" / "kamailio"
    directory.mkdir(parents=True)
    for name, version in BACKPORT["debs"].items():
        make_deb(directory, name, version)
    write_index(directory)
    return directory


TLS = {"old": "", "new": "6.0.1-1+deb13u2~voip12+1"}


@pytest.mark.parametrize("testmode", [True, False], ids=("test", "apply"))
def test_installed_from_the_master(host, state, testmode):
    serve(host)
    state.__opts__["test"] = testmode
    ret = state.installed("kamailio")
    assert ret["result"] is (None if testmode else True)
    assert ret["changes"] == {"kamailio-tls-modules": TLS}
    assert bool(host.apt("install")) is not testmode
    assert not (host.root / "policy-rc.d").exists()
    if testmode:
        assert host.commands == []
        return
    source = (host.root / "sources" / "voip-stack-kamailio.list").read_text()
    assert source == f"deb [trusted=yes] file:{host.root}/repositories/kamailio ./\n"
    [update] = host.apt("update")
    assert "Dir::Etc::SourceParts=-" in update  # only our own index, no whole refresh
    assert "kamailio-tls-modules=6.0.1-1+deb13u2~voip12+1" in host.apt("install")[0]
    host.commands.clear()
    again = state.installed("kamailio")
    assert (again["result"], again["changes"], host.commands) == (True, {}, [])


def test_repository_is_synchronised(host):
    directory = serve(host)
    host.module.install("kamailio")
    copies = host.root / "repositories" / "kamailio"
    assert sorted(item.name for item in copies.iterdir()) == sorted(
        item.name for item in directory.iterdir()
    )
    (copies / "old_1_amd64.deb").touch()
    next(copies.glob("kamailio_*.deb")).write_bytes(b"damaged")
    host.status.write_text("")
    host.module.install("kamailio")
    assert not (copies / "old_1_amd64.deb").exists()
    assert next(copies.glob("kamailio_*.deb")).read_bytes() != b"damaged"


def test_a_package_that_arrives_damaged_is_not_installed(host):
    directory = serve(host)
    next(directory.glob("kamailio-tls*.deb")).write_bytes(b"damaged")
    with pytest.raises(CommandExecutionError, match=r"kamailio-tls\S+ arrived damaged"):
        host.module.install("kamailio")
    assert host.apt("install") == []


def test_too_old_is_upgraded_to_the_safe_candidate(host):
    found = host.module.diff("rtpengine")
    assert found == {"rtpengine-daemon": {"old": "10.5.3.5-1", "new": "10.5.3.5-1+deb12u1"}}


@pytest.mark.parametrize("testmode", [True, False], ids=("test", "apply"))
def test_vulnerable_candidate_is_refused_by_name(host, state, testmode):
    host.candidates["rtpengine-daemon"] = "10.5.3.5-1"
    host.status.write_text("")
    state.__opts__["test"] = testmode
    ret = state.installed("rtpengine")
    assert (ret["result"], ret["changes"]) == (False, {})
    assert "rtpengine 10.5.3.5-1 is refused: older than 10.5.3.5-1+deb12u1" in ret["comment"]
    assert "CVE-2025-53399" in ret["comment"]
    assert host.apt("install") == []


def test_unavailable_component_says_what_was_tried(state):
    ret = state.installed("gone")
    assert ret["result"] is False
    assert ret["comment"] == "gone is not available for this host (tried vendor: no answer)"


def test_unprepared_component_says_so(host, state):
    host.module.__pillar__ = {
        "voip": {"packages": {"kamailio": {"sources": ["backport"], "install": ["kamailio"]}}}
    }
    assert "its packages were not prepared" in state.installed("kamailio")["comment"]


def test_dead_mirror_is_named(host, state):
    host.output = (
        "Err:1 http://mirror.test/debian bookworm/main amd64 rtpengine-daemon\n"
        "  Could not connect to mirror.test:80\nE: Unable to fetch some archives"
    )
    host.code = 100
    ret = state.installed("rtpengine")
    assert ret["result"] is False
    assert "did not deliver http://mirror.test/debian" in ret["comment"]
    assert "Could not connect to mirror.test:80" in ret["comment"]
    assert not (host.root / "policy-rc.d").exists()


def test_dpkgs_reason_is_told(host, state):
    host.output = (
        "dpkg: error processing archive /a/rtpengine-daemon.deb (--unpack):\n"
        " cannot copy extracted data for './usr/bin/rtpengine': failed to write"
        " (No space left on device)\nE: Sub-process /usr/bin/dpkg returned an error code (1)\n"
    )
    host.code = 100
    comment = state.installed("rtpengine")["comment"]
    assert "Installing rtpengine: dpkg: error processing archive" in comment
    assert "(No space left on device); E: Sub-process" in comment


def test_no_place_for_the_repository_is_said(host, state):
    serve(host)
    (host.root / "repositories").write_text("a file where a directory is wanted")
    ret = state.installed("kamailio")
    assert ret["result"] is False
    assert ret["comment"].startswith("kamailio: its packages find no place here:")


def test_lists_are_read_first_where_a_host_has_none(host):
    shutil.rmtree(host.root / "lists")
    host.module.install("rtpengine")
    assert ["update" in argv for argv in host.commands].count(True) == 1


def test_a_foreign_policy_stays(host):
    (host.root / "policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
    serve(host)
    host.module.install("kamailio")
    assert (host.root / "policy-rc.d").read_text() == "#!/bin/sh\nexit 101\n"


def test_status(host):
    report = host.module.status()
    assert report["kamailio"] == {
        "source": "backport",
        "package": "kamailio",
        "version": "6.0.1-1+deb13u2~voip12+1",
        "safe": "6.0.1-1+deb13u2~",
        "minimum": "5.7",
        "why": "CVE-2026-39863",
        "ok": True,
        "problem": "",
    }
    assert report["rtpengine"]["ok"] is False
    assert "CVE-2025-53399" in report["rtpengine"]["problem"]
    assert (report["openbao"]["version"], report["openbao"]["ok"]) == ("2.7.2", True)
    assert report["gone"]["problem"] == "gone is not installed"


def test_check_of_what_is_no_debian_package(host):
    assert host.module.check("openbao", "2.7.2") is True
    with pytest.raises(CommandExecutionError, match=r"openbao 2\.3\.0 is refused"):
        host.module.check("openbao", "2.3.0")
