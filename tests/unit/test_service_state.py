"""voip_service: a unit runs with what is on disk, whichever run wrote it."""

import importlib.util
import sys
from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError

CHECKOUT = Path(__file__).parents[2]
sys.path[:0] = [str(CHECKOUT / "_utils")]

import voip_unit  # noqa: E402

SHOW = """\
ExecMainStartTimestampMonotonic=5000000
NeedDaemonReload=no
ActiveState=active
SubState=running
UnitFileState=enabled
"""
GOOD = {
    "active": True,
    "state": "active (running)",
    "skipped": False,
    "enabled": True,
    "stale": False,
    "started": 1005.0,
}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, {}),
        (
            {"ActiveState=active": "ActiveState=failed"},
            {"active": False, "state": "failed (running)"},
        ),
        (
            {"ActiveState=active": "ActiveState=reloading", "=running": "=reload"},
            {"state": "reloading (reload)"},
        ),
        ({"Monotonic=5000000": "Monotonic=0"}, {"started": 0.0}),
        ({"Reload=no": "Reload=yes"}, {"stale": True}),
        ({"UnitFileState=enabled": "UnitFileState="}, {"enabled": False}),
        ({"SubState=running": "SubState=running\nResult=exec-condition"}, {"skipped": True}),
    ],
)
def test_facts(changed, expected):
    text = SHOW
    for old, new in changed.items():
        text = text.replace(old, new)
    assert voip_unit.facts(text, 1000) == GOOD | expected


@pytest.mark.parametrize(
    ("known", "newest", "newest_reload", "stamp", "wrong"),
    [
        ({}, None, None, 0, []),
        ({}, ("/a", 1004), ("/b", 1004), 0, []),
        ({}, ("/a", 1006), ("/b", 1006), 0, ["restarted"]),
        ({}, ("/a", 1004), ("/b", 1006), 0, ["reloaded"]),
        ({}, ("/a", 1004), ("/b", 1006), 1007, []),
        ({"stale": True}, None, None, 0, ["restarted"]),
        ({"active": False}, ("/a", 1006), ("/b", 1006), 0, ["running"]),
        # Its own condition keeps it from running: that of a relay whose addresses are elsewhere.
        ({"active": False, "skipped": True}, ("/a", 1006), None, 0, []),
        ({"active": False, "skipped": True, "stale": True}, None, None, 0, ["running"]),
        ({"active": False, "enabled": False}, None, None, 0, ["enabled", "running"]),
    ],
)
def test_shortcomings(known, newest, newest_reload, stamp, wrong):
    assert list(voip_unit.shortcomings(GOOD | known, newest, newest_reload, stamp)) == wrong


@pytest.fixture
def state():
    path = CHECKOUT / "_states/voip_service.py"
    spec = importlib.util.spec_from_file_location("state_voip_service", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.__opts__ = {"test": False}
    return module


WRONG = {"restarted": {"old": "started before /a was written", "new": "restarted"}}


def _salt(answers, applied):
    left = iter(answers)

    def shortcomings(name, paths, reload_paths):
        answer = next(left)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return {
        "voip_service.shortcomings": shortcomings,
        "voip_service.apply": lambda name, wrong, function: applied.append((name, list(wrong))),
    }


ABSENT = CommandExecutionError("no such unit")


@pytest.mark.parametrize(
    ("test", "answers", "result", "changes", "applied"),
    [
        (False, [{}], True, {}, []),
        (True, [{}], True, {}, []),
        (True, [WRONG], None, WRONG, []),
        (False, [WRONG, {}], True, WRONG, [("x", ["restarted"])]),
        (False, [WRONG, WRONG], False, WRONG, [("x", ["restarted"])]),
        (False, [ABSENT], False, {}, []),
        (True, [ABSENT], None, {}, []),
    ],
)
def test_running(state, test, answers, result, changes, applied):
    seen = []
    state.__opts__["test"] = test
    state.__salt__ = _salt(answers, seen)
    ret = state.running("x")
    assert (ret["result"], ret["changes"], seen) == (result, changes, applied)


@pytest.mark.parametrize(("test", "result", "changed"), [(False, True, False), (True, None, True)])
def test_a_watched_change_is_told_ahead_of_it(state, test, result, changed):
    state.__opts__["test"] = test
    ret = state.mod_watch("x", sfun="running")
    assert (ret["result"], bool(ret["changes"])) == (result, changed)
