"""The phases of a credential's rotation: what each accepts, what is left to do, what is refused."""

import sys
from pathlib import Path

import pytest
import yaml
from salt.exceptions import CommandExecutionError

sys.path[:0] = [str(Path(__file__).parents[2] / "_utils")]

import voip_asterisk  # noqa: E402
import voip_credentials as credentials  # noqa: E402

TABLE = yaml.safe_load(Path(__file__).with_name("rotation_phases.yaml").read_text())
OLD = {"username": "sip-1", "password": "one", "made": 100}


def documents():
    """The document in each phase, as the steps that write it make it."""
    found = {credentials.STABLE: OLD}
    found[credentials.OFFERED] = credentials.advance(OLD, "offer", "sip-1.b", "two")
    found[credentials.MOVING] = credentials.advance(found[credentials.OFFERED], "switch", now=200)
    found[credentials.REVOKING] = credentials.advance(found[credentials.MOVING], "retire")
    return found


@pytest.mark.parametrize("case", TABLE, ids=lambda case: f"{case['phase']}-{case['is_due']}")
def test_what_is_left(case):
    assert credentials.remaining(case["phase"], case["is_due"]) == case["remaining"]


@pytest.mark.parametrize(
    ("phase", "passwords"),
    [
        ("stable", ["one"]),
        ("offered", ["one", "two"]),
        ("moving", ["two", "one"]),
        ("revoking", ["two"]),
    ],
)
def test_what_a_server_takes(phase, passwords):
    document = documents()[phase]
    assert credentials.phase(document) == phase
    assert [pair["password"] for pair in credentials.accepted(document)] == passwords
    # What clients use is what the server takes first, in every phase.
    assert document["password"] == passwords[0]


def test_the_end_holds_the_new_pair_and_its_time_only():
    end = credentials.advance(documents()["revoking"], "finish")
    assert end == {"username": "sip-1.b", "password": "two", "made": 200}
    assert credentials.accepted({}) == []


@pytest.mark.parametrize("phase", ["stable", "offered", "moving", "revoking"])
@pytest.mark.parametrize("step", ["offer", "switch", "retire", "finish"])
def test_a_step_of_another_phase_is_refused(phase, step):
    if (step, phase) in credentials.STEPS:
        return
    with pytest.raises(CommandExecutionError, match="is no step of"):
        credentials.advance(documents()[phase], step, "x", "y")


def test_an_unknown_phase_is_refused():
    with pytest.raises(CommandExecutionError, match="unknown phase"):
        credentials.accepted(OLD | {"phase": "halfway"})


def test_other_values_of_a_document_are_kept():
    document = credentials.advance(OLD | {"note": "kept"}, "offer", "sip-1.b", "two")
    assert document["note"] == "kept"


def test_names_alternate():
    assert credentials.other_name("sip-1", "sip-1") == "sip-1.b"
    assert credentials.other_name("sip-1", "sip-1.b") == "sip-1"


def test_every_kind_names_functions():
    for kind in credentials.KINDS.values():
        assert kind.age in ("database", "api")
        assert all("." in name for name in (kind.takes, kind.used_as, kind.drain) if name)


CONNECTED = """\
  Username         IP Address                                               Start       Elapsed     FileDes   HttpCnt   Read   Write
  pbx-1            192.168.64.1                                             1764045000  12          23        0         00067  00067
  pbx-1.b          192.168.64.1                                             1764045001  11          24        0         00067  00067
2 users connected.
"""  # noqa: E501


def test_sessions_of_other_users():
    assert voip_asterisk.manager_sessions(CONNECTED, "pbx-1.b") == [23]
    assert voip_asterisk.manager_sessions("0 users connected.\n", "pbx-1") == []
