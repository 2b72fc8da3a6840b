"""A component that no source has: its states are left out, everything else stays."""

from voip_stack import paths
from voip_stack.health import _unavailable
from voip_stack.pillar import compile_for, load

NONE = {"kamailio": {"source": None, "tried": [{"source": "local", "result": "no directory"}]}}


def test_its_states_are_left_out_and_the_rest_stays():
    pillar = load(paths.pillar_dir())
    with_all = compile_for(pillar, "sip-1", {})["self"]["components"]
    without = compile_for(pillar, "sip-1", {"packages": NONE})["self"]["components"]
    assert [name for name in with_all if name not in without] == ["kamailio"]


def test_status_names_it_with_what_was_tried():
    assert _unavailable({"packages": NONE}) == {"kamailio": "tried local: no directory"}
