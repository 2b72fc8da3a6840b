"""Which source is taken, and what is said about the others."""

from pathlib import Path

import pytest

from tests.unit.packages_fixtures import make_deb
from voip_stack.cache import Cache
from voip_stack.packages.build import Target
from voip_stack.packages.prepare import publish
from voip_stack.packages.repository import Deb
from voip_stack.packages.resolve import resolve
from voip_stack.packages.sources import SOURCES, Request
from voip_stack.pillar.packages import ComponentPackages
from voip_stack.problem import Problem


class Fake:
    def __init__(self, name, version=None, unavailable=None, fails=None):
        self.name, self.version, self.reason, self.fails = name, version, unavailable, fails
        self.asked = []

    def unavailable(self, request, target):
        self.asked.append("unavailable")
        return self.reason

    def fetch(self, request, target):
        self.asked.append("fetch")
        if self.fails:
            raise Problem(self.fails)
        if self.version is None:
            return None
        return {"thing": Deb(Path("thing.deb"), f"Package: thing\nVersion: {self.version}")}


FLOOR = {"minimum": "1.0", "safe": "2.0", "why": "CVE-0-0"}


def run(tmp_path, *fakes, floor=FLOOR):
    wanted = ComponentPackages.model_validate(
        {
            "sources": [fake.name for fake in fakes],
            "install": ["thing"],
            "vendor": {"uri": "http://vendor.test/x", "suite": "bookworm", "key": "k.asc"},
        }
    )
    target = Target("bookworm", "amd64", Cache(tmp_path), tmp_path, lambda text: None)
    return resolve(Request("thing", wanted, floor), target, {fake.name: fake for fake in fakes})


def test_first_that_works_is_taken_and_the_rest_not_asked(tmp_path):
    local = Fake("local", unavailable="no directory")
    vendor, backport = Fake("vendor", "2.1"), Fake("backport", "2.2")
    choice = run(tmp_path, local, vendor, backport)
    assert (choice.source, choice.version) == ("vendor", "2.1")
    assert choice.tried == [
        {"source": "local", "result": "no directory"},
        {"source": "vendor", "result": "taken"},
    ]
    assert backport.asked == []


def test_too_old_is_refused_by_name_and_the_next_is_tried(tmp_path):
    choice = run(tmp_path, Fake("local", "1.9"), Fake("backport", "2.0"))
    assert choice.source == "backport"
    assert "thing 1.9 is refused: older than 2.0" in choice.tried[0]["result"]
    assert "CVE-0-0" in choice.tried[0]["result"]


def test_a_build_that_fails_is_recorded_and_the_next_is_tried(tmp_path):
    choice = run(tmp_path, Fake("backport", fails="compiler says no"), Fake("debian"))
    assert choice.source == "debian"
    assert choice.version == ""
    assert choice.tried[0]["result"] == "compiler says no"


def test_none_works_is_reported_by_name_with_what_was_tried(tmp_path):
    choice = run(tmp_path, Fake("local", unavailable="no directory"), Fake("backport", "1.0"))
    assert choice.source is None
    assert choice.facts()["source"] is None
    text = str(choice)
    assert text.startswith("thing is not available for bookworm amd64 (tried local: no directory;")
    assert "backport: thing 1.0 is refused" in text


@pytest.mark.parametrize("folder", ["", "bookworm-amd64"])
def test_local_directory_with_its_own_dependencies(tmp_path, monkeypatch, folder):
    debs = tmp_path / "debs" / folder
    debs.mkdir(parents=True)
    make_deb(debs, "thing", "2.0-1", depends="libthing (>= 2), libc6 | libother")
    make_deb(debs, "thing", "2.1-1", depends="libthing (>= 2), libc6")
    make_deb(debs, "libthing", "2.0-1")
    make_deb(debs, "unrelated", "1.0")
    make_deb(debs, "thing", "9.0", arch="arm64")
    monkeypatch.setenv("VOIP_LOCAL_DEBS", str(tmp_path / "debs"))
    choice = run(tmp_path, SOURCES["local"])
    assert (choice.source, choice.version) == ("local", "2.1-1")
    assert choice.facts()["debs"] == {"libthing": "2.0-1", "thing": "2.1-1"}

    served = publish(choice, tmp_path / "packages")
    assert served == tmp_path / "packages" / "bookworm-amd64" / "thing"
    names = sorted(path.name for path in served.iterdir())
    expected = ["Packages", "Release", "libthing_2.0-1_amd64.deb", "thing_2.1-1_amd64.deb"]
    assert names == expected
    assert "Filename: ./thing_2.1-1_amd64.deb\n" in (served / "Packages").read_text()

    # A later choice leaves nothing behind.
    choice.debs = {}
    publish(choice, tmp_path / "packages")
    assert not served.exists()


def test_local_directory_says_what_is_wrong(tmp_path, monkeypatch):
    monkeypatch.delenv("VOIP_LOCAL_DEBS", raising=False)
    assert "no local package directory" in run(tmp_path, SOURCES["local"]).tried[0]["result"]
    monkeypatch.setenv("VOIP_LOCAL_DEBS", str(tmp_path / "none"))
    assert "is not a directory" in run(tmp_path, SOURCES["local"]).tried[0]["result"]
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "thing_1_amd64.deb").write_text("no package")
    monkeypatch.setenv("VOIP_LOCAL_DEBS", str(tmp_path / "broken"))
    assert "not a Debian package" in run(tmp_path, SOURCES["local"]).tried[0]["result"]


def test_vendor_names_what_was_tried(tmp_path, monkeypatch):
    def refuse(uri, timeout):
        raise OSError("Name or service not known")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    result = run(tmp_path, SOURCES["vendor"]).tried[0]["result"]
    assert "k.asc is not in salt/packages/files/keys" in result
    assert "http://vendor.test/x/dists/bookworm/InRelease does not answer" in result


def test_a_build_cut_short_is_not_in_the_cache(tmp_path, monkeypatch):
    from voip_stack.packages import backport, chroot, recipe

    monkeypatch.setattr(recipe, "RECIPES", tmp_path / "recipes")
    monkeypatch.setattr(recipe.load, "__defaults__", (tmp_path / "recipes",))
    monkeypatch.setattr(chroot, "unavailable", lambda: None)
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "thing.yaml").write_text("source: thing\nsuites: [sid]\n")
    calls = []

    def build(component, wanted, target, output):
        calls.append(output)
        make_deb(output, "thing", "2.1-1")
        if len(calls) == 1:
            raise Problem("interrupted")

    monkeypatch.setattr(backport, "build", build)
    first = run(tmp_path, SOURCES["backport"])
    assert first.source is None
    assert not calls[0].exists()
    second = run(tmp_path, SOURCES["backport"])
    assert (second.source, second.version, len(calls)) == ("backport", "2.1-1", 2)
    third = run(tmp_path, SOURCES["backport"])
    assert (third.source, len(calls)) == ("backport", 2)
    # A higher floor asks for a newer source: built again, not taken from the cache.
    run(tmp_path, SOURCES["backport"], floor=FLOOR | {"safe": "2.1"})
    assert len(calls) == 3
