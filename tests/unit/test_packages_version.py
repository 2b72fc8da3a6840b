"""Debian version order and the floors of pillar/versions.yaml, as decision tables."""

from pathlib import Path

import pytest
import yaml

from voip_stack import paths
from voip_stack.packages.version import compare, refusal

CASES = yaml.safe_load((Path(__file__).parent / "packages_versions.yaml").read_text())
FLOORS = yaml.safe_load((paths.CHECKOUT / "pillar" / "versions.yaml").read_text())["versions"]


@pytest.mark.parametrize(("first", "relation", "second"), CASES["order"])
def test_order(first, relation, second):
    sign = {"<": -1, "=": 0, ">": 1}[relation]
    assert compare(first, second) == sign
    assert compare(second, first) == -sign


@pytest.mark.parametrize(("component", "version", "said"), CASES["floors"])
def test_floors(component, version, said):
    found = refusal(component, version, FLOORS[component])
    if said is None:
        assert found is None
    else:
        assert component in found
        assert version in found
        assert said in found


def test_no_floor_refuses_nothing():
    assert refusal("anything", "0", {}) is None
