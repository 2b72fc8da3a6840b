"""Subscribers: where passwords lie, what digests are, what a state reports."""

import importlib.util
import sys
from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError

CHECKOUT = Path(__file__).parents[2]
sys.path[:0] = [str(CHECKOUT / name) for name in ("_utils", "_modules")]

import subscribers as module  # noqa: E402
import voip_subscribers  # noqa: E402
from voip_errors import NotFound, Sealed, Unavailable  # noqa: E402


def test_a_number_keeps_its_document():
    """Written down: another function would lose every password."""
    assert [voip_subscribers.shard_path(number) for number in ("1001", "1002", "1003")] == [
        "subscribers/001",
        "subscribers/059",
        "subscribers/045",
    ]


def test_documents_are_few_and_even():
    numbers = [str(number) for number in range(100_000, 200_000)]
    shards = voip_subscribers.by_shard(numbers)
    assert len(shards) == voip_subscribers.SHARDS
    assert max(map(len, shards.values())) < 1200
    assert sorted(number for group in shards.values() for number in group) == numbers


def test_digests():
    """The first is RFC 2617's example user, computed by its section 3.2.2.2."""
    ha1, ha1b, sha256 = voip_subscribers.credentials(
        "Mufasa", "testrealm@host.com", "Circle Of Life"
    )
    assert ha1 == "939e7578ed9e3c518a452acee763bce9"
    assert ha1b != ha1
    assert len(sha256) == 64


def test_rows_travel_packed():
    text = '1001,active,"a ""b"", c"\n1002,active,ü\n'
    assert voip_subscribers.unpack(voip_subscribers.pack(text)).decode() == text
    assert voip_subscribers.numbers(voip_subscribers.pack(text)) == {"1001", "1002"}


@pytest.mark.parametrize(
    ("touched", "expected"),
    [
        ({"added": (0, None), "removed": (0, None)}, {}),
        ({"added": (2, ["1", "2"])}, {"added": {"count": 2, "sample": ["1", "2"]}}),
        (
            {"changed": (9, list("123456789")), "removed": (1, ["7"])},
            {
                "changed": {"count": 9, "sample": list("12345")},
                "removed": {"count": 1, "sample": ["7"]},
            },
        ),
    ],
)
def test_changes_are_bounded(touched, expected):
    assert voip_subscribers.changes(**touched) == expected


# -------------------------------------------------------------------- passwords


@pytest.fixture
def vault(monkeypatch):
    """A Vault of one dict: {path: document}."""
    held = {}

    def read(path):
        if path not in held:
            raise NotFound(path)
        return held[path]

    def rewrite(path, change):
        held[path] = change(dict(held.get(path, {})))
        return held[path]

    functions = {
        "voip_vault.read": read,
        "voip_vault.rewrite": rewrite,
        "voip_vault.keys": lambda directory: [path.partition("/")[2] for path in held],
    }
    monkeypatch.setattr(module, "__salt__", functions, raising=False)
    return held


def words(held, path):
    return voip_subscribers.passwords(held[path])


def test_a_document_is_one_text_whatever_it_was():
    found = {"1002": "b", "1001": "a"}
    document = voip_subscribers.document(found)
    assert document == {"passwords": "1001 a\n1002 b\n"}
    assert voip_subscribers.passwords(document) == found
    assert voip_subscribers.passwords(found) == found
    assert voip_subscribers.passwords({"1001": "old", **document}) == found
    assert voip_subscribers.passwords({}) == {}


def test_only_missing_passwords_are_made(vault):
    vault["subscribers/001"] = {"1001": "kept"}
    rows = list(module._credentials(["1001", "1002"], "a.test", test=False))
    assert vault["subscribers/001"] == {"1001": "kept"}
    made = words(vault, "subscribers/059")["1002"]
    assert len(made) >= 24
    assert rows == [
        (number, *voip_subscribers.credentials(number, "a.test", word))
        for number, word in (("1001", "kept"), ("1002", made))
    ]


def test_a_test_run_makes_none(vault):
    assert len(list(module._credentials(["1001"], "a.test", test=True))) == 1
    assert vault == {}


def test_passwords_of_removed_subscribers_are_destroyed(vault, monkeypatch):
    vault |= {
        "subscribers/001": voip_subscribers.document({"1001": "a", "old": "b"}),
        "subscribers/045": {"1003": "c"},
    }
    monkeypatch.setattr(module, "__pillar__", pillar(rows="1001,active\n"), raising=False)
    module._prune()
    assert words(vault, "subscribers/001") == {"1001": "a"}
    assert words(vault, "subscribers/045") == {}


def pillar(rows="", components=("kamailio",)):
    known = {"rows": voip_subscribers.pack(rows)}
    return {"voip": {"self": {"components": components}, "subscribers": known}}


@pytest.mark.parametrize(
    ("error", "asked"),
    [(None, ["1001", "1002"]), (Unavailable("down"), ["1001"])],
    ids=["running", "down"],
)
def test_contacts_are_taken_from_every_proxy_that_runs(monkeypatch, error, asked):
    called = []

    def unregister(number):
        called.append(number)
        if error:
            raise error
        return number == "1002"

    monkeypatch.setattr(module, "__pillar__", pillar(), raising=False)
    functions = {"kamailio.unregister": unregister, "opensips.unregister": pytest.fail}
    monkeypatch.setattr(module, "__salt__", functions, raising=False)
    found = module._unregister(["1001", "1002"])
    assert (called, found) == (asked, [] if error else ["1002"])


@pytest.mark.parametrize("error", [None, Unavailable("down"), NotFound("no table")])
def test_the_proxies_are_told_to_forget(monkeypatch, error):
    told = []

    def forget():
        told.append(True)
        if error:
            raise error

    both = pillar(components=["kamailio", "opensips"])
    monkeypatch.setattr(module, "__pillar__", both, raising=False)
    functions = {f"{name}.forget_subscribers": forget for name in ("kamailio", "opensips")}
    monkeypatch.setattr(module, "__salt__", functions, raising=False)
    module._forget_known()
    monkeypatch.setattr(module, "__pillar__", pillar(components=["asterisk"]), raising=False)
    module._forget_known()
    assert told == [True, True]


# -------------------------------------------------------------------- the state


def state(testmode, is_current, outcome, others=(0, None)):
    spec = importlib.util.spec_from_file_location("s", CHECKOUT / "_states/subscribers.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)

    def converge(name, owns, test):
        assert test is testmode
        if isinstance(outcome, Exception):
            raise outcome
        return outcome, 21

    loaded.__opts__ = {"test": testmode}
    loaded.__salt__ = {
        "subscribers.count": lambda: 2,
        "subscribers.foreign": lambda name: others,
        "subscribers.is_current": lambda name: is_current,
        "subscribers.converge": converge,
    }
    return loaded


ADDED = {"added": {"count": 2, "sample": ["1001", "1002"]}}


@pytest.mark.parametrize("testmode", [False, True], ids=["apply", "test"])
@pytest.mark.parametrize(
    ("is_current", "outcome", "changes"),
    [(True, AssertionError("asked the Vault"), {}), (False, {}, {}), (False, ADDED, ADDED)],
    ids=["current", "equal after all", "differs"],
)
def test_managed(testmode, is_current, outcome, changes):
    ret = state(testmode, is_current, outcome).managed("voip.test")
    assert ret["changes"] == changes
    assert ret["result"] is (None if changes and testmode else True)


def test_rows_of_others_are_told_or_taken():
    others = (7, list("12345"))
    loaded = state(False, True, {"removed": {"count": 7, "sample": list("12345")}}, others)
    left = loaded.managed("voip.test")
    assert left["changes"] == {}
    assert "7 rows that others made are left: 1, 2, 3, 4, 5, ..." in left["comment"]
    assert loaded.managed("voip.test", owns=True)["changes"]["removed"]["count"] == 7


@pytest.mark.parametrize(
    "error", [Sealed("sealed"), NotFound("no table"), CommandExecutionError("x")]
)
def test_a_failure_is_told_and_changes_nothing(error):
    ret = state(False, False, error).managed("voip.test")
    assert ret["result"] is False
    assert ret["changes"] == {}
    assert str(error) in ret["comment"]
