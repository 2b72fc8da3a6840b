"""voip_config: staged, compared, tried and swapped; voip_health: asked until it answers."""

import errno
import grp
import importlib.util
import os
import pwd
import sys
from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError

CHECKOUT = Path(__file__).parents[2]
sys.path[:0] = [str(CHECKOUT / "_utils")]

import voip_files  # noqa: E402

ME = {
    "user": pwd.getpwuid(os.getuid()).pw_name,
    "group": grp.getgrgid(os.getgid()).gr_name,
}


def _load(kind, name):
    spec = importlib.util.spec_from_file_location(f"{kind}_{name}", CHECKOUT / kind / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tool(monkeypatch, tmp_path):
    module = _load("_modules", "voip_config")
    module.__salt__ = {"cp.get_template": _template, "voip_vault.read": lambda path: {"at": path}}
    monkeypatch.setattr(module, "_STAGE_PARENT", str(tmp_path / "run"))
    return module


def _template(url, path, template, saltenv, **values):
    secrets = values.get("secrets", {})
    Path(path).write_text(f"{url} {values.get('a')} {secrets.get('s', {}).get('at')}\n")
    return path


@pytest.fixture
def state(tool):
    module = _load("_states", "voip_config")
    module.__env__ = "base"
    module.__opts__ = {"test": False}
    names = ("render", "changes", "check", "install")
    module.__salt__ = {f"voip_config.{name}": getattr(tool, name) for name in names}
    return module


FILES = ["a.conf", {"b.conf": "empty.conf"}, {"c.conf": "empty.conf"}]


def apply(state, directory, test=False, **changed):
    state.__opts__["test"] = test
    wanted = {
        "source": "salt://x",
        "files": FILES,
        "context": {"a": 1},
        "secrets": {"s": "hosts/s"},
    }
    return state.managed(str(directory), **wanted, **ME, **changed)


def test_apply_test_and_second_run(state, tmp_path):
    directory = tmp_path / "etc"
    expected = dict.fromkeys(("a.conf", "b.conf", "c.conf"), "new")
    dry = apply(state, directory, test=True)
    assert (dry["result"], dry["changes"]) == (None, expected)
    assert not directory.exists()
    real = apply(state, directory)
    assert (real["result"], real["changes"]) == (True, expected)
    assert (directory / "a.conf").read_text() == "salt://x/a.conf.j2 1 hosts/s\n"
    assert (directory / "a.conf").stat().st_mode & 0o777 == 0o640
    for test in (False, True):
        again = apply(state, directory, test=test)
        assert (again["result"], again["changes"]) == (True, {})


def test_drift_is_named_and_mended(state, tmp_path):
    directory = tmp_path / "etc"
    apply(state, directory)
    (directory / "a.conf").write_text("by hand\n")
    (directory / "b.conf").chmod(0o644)
    (directory / "c.conf").unlink()
    changes = apply(state, directory)["changes"]
    assert changes == {"a.conf": "content", "b.conf": "mode", "c.conf": "new"}
    assert apply(state, directory)["changes"] == {}


def test_a_refused_set_replaces_nothing(state, tool, tmp_path):
    directory = tmp_path / "etc"
    apply(state, directory)
    (directory / "a.conf").write_text("the old one\n")
    (directory / "other.conf").write_text("not ours\n")
    seen = {}

    def refuse(stage):
        seen.update({path.name: path.read_text() for path in Path(stage).iterdir()})
        raise CommandExecutionError("line 3 is wrong")

    tool.__salt__["daemon.check"] = refuse
    ret = apply(state, directory, check="daemon.check")
    assert (ret["result"], ret["changes"], ret["comment"]) == (False, {}, "line 3 is wrong")
    assert (directory / "a.conf").read_text() == "the old one\n"
    assert seen["other.conf"] == "not ours\n"
    assert seen["a.conf"].startswith("salt://x")
    assert list((tmp_path / "run").iterdir()) == []


def test_all_come_back_when_one_cannot_be_written(tool, tmp_path):
    (tmp_path / "a.conf").write_text("old\n")
    (tmp_path / "b.conf").mkdir()
    with pytest.raises(CommandExecutionError, match="former files are back"):
        tool.install(str(tmp_path), {"a.conf": "new\n", "z/../b.conf": "new\n"}, **ME)
    assert (tmp_path / "a.conf").read_text() == "old\n"


def full(descriptor):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_said_and_replaces_nothing(state, tool, tmp_path, monkeypatch):
    directory = tmp_path / "etc"
    apply(state, directory)
    (directory / "a.conf").write_text("the old one\n")
    tool.__salt__["daemon.check"] = lambda stage: None
    monkeypatch.setattr(os, "fsync", full)
    for check in ("daemon.check", None):
        ret = apply(state, directory, check=check)
        assert ret["result"] is False
        assert f"{directory}" in ret["comment"]
        assert "No space left on device" in ret["comment"]
    assert (directory / "a.conf").read_text() == "the old one\n"
    assert list((tmp_path / "run").iterdir()) == []


def test_a_single_file_on_a_full_disk_stays_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "key.pem"
    voip_files.write(str(path), "first\n", 0o600)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CommandExecutionError, match=r"key.pem could not be written: No space left"):
        voip_files.write(str(path), "second\n", 0o600)
    assert path.read_text() == "first\n"
    assert [found.name for found in tmp_path.iterdir()] == ["key.pem"]


def test_secrets_are_not_rendered_as_a_job(tool):
    with pytest.raises(CommandExecutionError, match="for states"):
        tool.render("salt://x", ["a"], secrets={"s": "x"}, __pub_fun="voip_config.render")


def test_health_waits_for_the_daemon():
    health = _load("_states", "voip_health")
    health.__opts__ = {"test": False}
    answers = iter([CommandExecutionError("not yet"), 1.5])

    def ping():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    health.__salt__ = {"x.ping": ping}
    assert health.answers("x.ping") == {
        "name": "x.ping",
        "result": True,
        "changes": {},
        "comment": "x.ping answers",
    }


@pytest.mark.parametrize(
    ("test", "function", "result", "comment"),
    [
        (False, "x.dead", False, "x.dead: down"),
        (True, "x.dead", True, "asked in a real run"),
        (False, "x.none", False, "no function"),
    ],
)
def test_health_says_why(test, function, result, comment):
    def dead():
        raise CommandExecutionError("down")

    health = _load("_states", "voip_health")
    health.__opts__, health.__salt__ = {"test": test}, {"x.dead": dead}
    ret = health.answers(function, timeout_s=0)
    assert ret["result"] is result
    assert comment in ret["comment"]
