"""A component that no source has: its states are left out, everything else stays."""

from dataclasses import replace

import pytest

from voip_stack import paths
from voip_stack.cache import Cache
from voip_stack.call import plan
from voip_stack.health import _unavailable
from voip_stack.packages.build import Target
from voip_stack.packages.prepare import request
from voip_stack.packages.resolve import resolve
from voip_stack.pillar import compile, compile_for, load
from voip_stack.problem import Problem

PILLAR = load(paths.pillar_dir())
PROXIES = ("kamailio", "opensips")


def without(component):
    tried = [{"source": "local", "result": "no directory"}, {"source": "vendor", "result": "dead"}]
    return {"packages": {component: {"source": None, "tried": tried}}}


@pytest.mark.parametrize("component", PROXIES)
def test_its_states_are_left_out_and_the_rest_stays(component):
    full = compile_for(PILLAR, "sip-1", {})["self"]["components"]
    rest = compile_for(PILLAR, "sip-1", without(component))["self"]["components"]
    assert [name for name in full if name not in rest] == [component]


@pytest.mark.parametrize("component", PROXIES)
def test_nobody_waits_for_it(component):
    """No port, certificate or probe of it on its host, and the PBX dials the other one."""
    (other,) = set(PROXIES) - {component}
    sip, pbx = (compile_for(PILLAR, host, without(component)) for host in ("sip-1", "pbx-1"))
    named = {rule["name"].partition("/")[0] for rule in sip["firewall"]}
    assert named & set(PROXIES) == {other}
    assert component not in sip["certificates"]
    assert component not in sip["probes"]
    assert component not in sip
    assert pbx["proxies"] == [other]


def test_a_call_by_it_says_so(monkeypatch):
    monkeypatch.setattr(plan.deployment, "read", lambda: without("opensips"))
    with pytest.raises(Problem, match="sip-1 has no proxy opensips"):
        plan.make_plan(PILLAR, "1001", "1002", proxy="opensips")
    assert plan.make_plan(PILLAR, "1001", "1002").daemon == "kamailio"


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """What `up` records on a machine that can have no OpenSIPS: each source is really tried."""
    monkeypatch.setenv("VOIP_LOCAL_DEBS", str(tmp_path))
    monkeypatch.delenv("VOIP_LOCAL_SOURCES", raising=False)
    asked = request(PILLAR, "opensips")
    vendor = asked.wanted.vendor.model_copy(update={"uri": "http://127.0.0.1:9"})
    asked = replace(asked, wanted=asked.wanted.model_copy(update={"vendor": vendor}))
    target = Target("bookworm", "amd64", Cache(tmp_path), tmp_path, lambda text: None)
    return {"packages": {"opensips": resolve(asked, target).facts()}}


def test_without_packages_kamailio_comes_up_alone(nowhere):
    assert compile.proxies(PILLAR, nowhere) == ["kamailio"]
    assert "opensips" not in compile_for(PILLAR, "sip-1", nowhere)["self"]["components"]


def test_status_names_it_with_what_was_tried(nowhere):
    why = _unavailable(nowhere)["opensips"]
    assert why.startswith("tried local: ")
    assert "vendor: its key opensips.asc is not in" in why
    assert "source: opensips_3.6.8.orig.tar.xz has no URL and is not in VOIP_LOCAL_SOURCES" in why
