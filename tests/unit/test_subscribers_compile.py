"""pillar/subscribers/: what is refused, with file and line; what groups give; who gets what."""

import shutil
import sys
from pathlib import Path

import pytest
import yaml

from voip_stack import subscribers
from voip_stack.pillar import PillarError, compile_for, load
from voip_stack.subscribers import cache

CHECKOUT = Path(__file__).parents[2]
sys.path.append(str(CHECKOUT / "_utils"))

import voip_subscribers  # noqa: E402

REFUSED = yaml.safe_load((Path(__file__).parent / "subscribers_refused.yaml").read_text())


@pytest.fixture
def write(tmp_path):
    """write({name: text}) -> the pillar's directory, with these files beside lab.yaml."""

    def make(files):
        directory = Path(shutil.copytree(CHECKOUT / "pillar", tmp_path / "pillar"))
        for name, text in files.items():
            (directory / "subscribers" / name).write_text(text, errors="surrogateescape")
        return directory

    return make


def entries(directory):
    return {entry.number: entry for entry in load(directory).subscribers}


@pytest.mark.parametrize("case", REFUSED, ids=[case["name"] for case in REFUSED])
def test_refused(write, case):
    with pytest.raises(PillarError) as raised:
        load(write(case["files"]))
    texts = [str(problem).removeprefix("pillar/subscribers/") for problem in raised.value.problems]
    for wanted in case["problems"]:
        assert any(text.startswith(wanted) for text in texts), (wanted, texts)
    assert len(texts) == len(case["problems"]), texts


def test_what_is_wrong_elsewhere_is_told_too(write):
    directory = write({"b.csv": "number,name\n1,A\n"})
    policies = directory / "policies.yaml"
    policies.write_text(policies.read_text().replace("max_forwards: 70", "max_forwards: 0"))
    with pytest.raises(PillarError) as raised:
        load(directory)
    assert {item.file for item in raised.value.problems} == {
        "policies.yaml",
        "subscribers/b.csv",
    }


def test_yaml_and_csv_say_the_same(write):
    directory = write(
        {
            "b.yaml": """
subscribers:
  - number: "2001"
    name: Ärger, Inc.
    domain: voip.test
    state: suspended
    record: true
    keying: dtls
    voicemail: "77"
    forward: {busy: "+4930999999", no_answer: "1001", after_s: 20}
    destinations: [national, internal]
    max_calls: 2
    caller_id: "+4930123456"
    aliases: ["+4930123456", "+4930123457"]
""",
            "c.csv": "name,number,domain,state,record,keying,voicemail,forward_busy,"
            "forward_no_answer,forward_after_s,destinations,max_calls,caller_id,aliases\n"
            '"Ärger, Inc.",2002,voip.test,suspended,true,dtls,77,+4930999999,1001,20,'
            "internal national,2,+4930123456,+4930123458\n",
        }
    )
    found = entries(directory)
    assert found["2001"]._replace(number="") == found["2002"]._replace(number="")
    assert found["2002"].destinations == "internal,national"
    assert found["2001"].forward_after_s == 20
    assert load(directory).subscribers.alias_numbers() == {
        "+4930123456": "2001",
        "+4930123457": "2001",
        "+4930123458": "2002",
    }


GROUPS = """
groups:
  sales: {destinations: [national], max_calls: 5}
  field: {destinations: [mobile], max_calls: 3}
  plain: {}
subscribers:
"""


@pytest.mark.parametrize(
    ("settings", "destinations", "max_calls"),
    [
        ("", "", 0),
        ("groups: [plain]", "", 0),
        ("groups: [sales]", "national", 5),
        ("groups: [sales, field, plain]", "mobile,national", 3),
        ("groups: [sales], destinations: [internal], max_calls: 9", "internal", 9),
        ("groups: [sales], destinations: []", "none", 5),
    ],
)
def test_what_groups_give(write, settings, destinations, max_calls):
    text = f"{GROUPS}  - {{number: '2001', name: A, {settings}}}\n"
    entry = entries(write({"b.yaml": text}))["2001"]
    assert (entry.destinations, entry.max_calls) == (destinations, max_calls)


def test_policy_names_the_destinations(write):
    directory = write({"b.csv": "number,name,destinations\n2001,A,national mars\n"})
    with pytest.raises(PillarError, match="one of national expected, not mars"):
        subscribers.compiled(directory, "voip.test", destinations=frozenset(["national"]))


def test_a_chain_of_forwards_is_none_of_recursion(write):
    lines = [f"{number},A,{number + 1}" for number in range(200_000, 205_000)]
    directory = write({"b.csv": "\n".join(["number,name,forward_always", *lines, "205000,A,"])})
    assert len(load(directory).subscribers) == 5004


# -------------------------------------------------------------------- who gets what


@pytest.mark.parametrize(
    ("host", "keys"),
    [
        ("sip-1", {"digest", "count", "rows", "aliases", "record", "dtls"}),
        ("pbx-1", {"lengths", "forwards"}),
        ("media-1", None),
        ("media-2", None),
        ("devstack", None),
    ],
)
def test_each_minion_gets_what_it_uses(write, host, keys):
    directory = write({"b.csv": "number,name,aliases,record\n77123,Xaver,+4930123456,true\n"})
    model = load(directory)
    assert host in model.minions()
    compiled = compile_for(model, host, {})
    known = compiled.pop("subscribers", None)
    assert (None if known is None else set(known)) == keys
    for word in ("Xaver", "77123", "+4930123456", model.subscribers.rows):
        assert word not in repr(compiled)
    if host == "sip-1":
        assert b"77123,active,Xaver" in voip_subscribers.unpack(known["rows"])
        assert voip_subscribers.unpack(known["aliases"]) == b"+4930123456,77123\n"
    if host == "pbx-1":
        assert known == {"lengths": {"1": [4], "7": [5]}, "forwards": {}}


def test_a_pbx_knows_who_forwards_and_where_to(write):
    directory = write(
        {
            "b.csv": "number,name,state,aliases,forward_always,forward_busy,forward_after_s,"
            "voicemail\n"
            "2001,A,active,+4930123456,2002,,,\n2002,B,active,,,+4930999999,25,\n"
            "2003,C,suspended,,2002,,,77\n2004,D,active,,+4930123456,,,\n2005,E,active,,,,,78\n"
        }
    )
    known = compile_for(load(directory), "pbx-1", {})["subscribers"]["forwards"]
    assert known == {
        "2001": {"always": "2002"},
        "2002": {"busy": "+4930999999", "after_s": 25},
        "2004": {"always": "2001"},
        "2005": {"voicemail": "78"},
    }


# -------------------------------------------------------------------- each content is compiled once


def test_each_content_is_compiled_once(write, tmp_path, monkeypatch):
    directory = write({"b.csv": "number,name\n2001,A\n"})
    folder = tmp_path / "cache"
    first = subscribers.compiled(directory, "voip.test", folder)
    with monkeypatch.context() as patched:
        patched.setattr("voip_stack.subscribers.compile._Compiler", pytest.fail)
        again = subscribers.compiled(directory, "voip.test", folder)
    assert again.as_dict() == first.as_dict()
    for number in range(2002, 2006):
        (directory / "subscribers" / "b.csv").write_text(f"number,name\n{number},A\n")
        known = subscribers.compiled(directory, "voip.test", folder)
        assert str(number) in {entry.number for entry in known}
    kept = list(folder.glob("*.json"))
    assert len(kept) == 2
    assert {path.stat().st_mode & 0o777 for path in kept} == {0o600}
    kept[0].write_text("{")
    assert cache.read(folder, kept[0].stem) is None


def test_another_domain_or_policy_is_another_content(write):
    directory = write({})
    keys = {
        cache.key(directory, {}, domain, names)
        for domain in ("a.test", "b.test")
        for names in (None, frozenset(), frozenset(["national"]))
    }
    assert len(keys) == 6
