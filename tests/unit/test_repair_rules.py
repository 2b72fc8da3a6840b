"""The decisions of self-repair, by table: wait, leave, mend, give up."""

from pathlib import Path

import pytest
import yaml

from voip_stack.pillar.health import Repair
from voip_stack.repair.rules import Look, Situation, decide, pause_left

CASES = yaml.safe_load(Path(__file__).with_name("repair_rules.yaml").read_text())
RUNNING = {"what": "sip: no answer within 1 s", "active": "active", "sub": "running"}


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_decision(case):
    given = {key: case[key] for key in ("down", "maintenance", "degraded", "forced") if key in case}
    repairs = [(when, helped) for when, helped in case.get("repairs", [])]
    look = Look.of(RUNNING | case.get("look", {}))
    decision = decide(Situation(look, 1000.0, repairs=repairs, **given), Repair())
    assert decision.action == case["action"], decision.why
    assert decision.told is case.get("told", False)
    assert decision.why


@pytest.mark.parametrize(
    ("recent", "left"),
    [
        ([], 0),
        ([(100, True)], 0),
        ([(100, False)], 15),
        ([(90, False), (100, False)], 30),
        ([(80, True), (90, False), (100, False)], 30),
        ([(80, False), (90, True), (100, False)], 15),
    ],
)
def test_the_pause_doubles_with_each_failure(recent, left):
    assert pause_left(recent, 100, Repair()) == left


def test_a_look_takes_what_it_knows_of_a_newer_minion():
    assert Look.of({"what": "", "active": "active", "unheard_of": 1}).active == "active"
