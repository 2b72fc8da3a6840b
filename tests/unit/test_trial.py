"""Other values for a while: laid over the pillar, refused like it, taken back."""

import importlib.util
import json
import time

import pytest

from voip_stack import paths
from voip_stack.pillar import compile_for, load, trial
from voip_stack.pillar.trial import Trial
from voip_stack.problem import Problem
from voip_stack.soak import run, trials

PILLAR = load(paths.pillar_dir())
SHORT = Trial(certificate_ttl_s=180, began=0)
LOADED = Trial(
    load=trial.Load(requests=5000, registrations=7000, trunks=["198.18.64.100"]), began=0
)


@pytest.fixture(autouse=True)
def state(monkeypatch, tmp_path):
    monkeypatch.setenv("VOIP_STATE_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def ext_pillar(state):
    """The pillar of a minion as the master makes it from this state directory."""
    spec = importlib.util.spec_from_file_location(
        "ext_pillar_voip", paths.checkout() / "_pillar/voip.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda host: module.ext_pillar(host, {}, str(paths.checkout()), str(state))


def lives(compiled):
    return {entry["ttl_s"] for entry in compiled["certificates"].values()}


def test_every_certificate_of_every_host_has_the_trials_life():
    over = trial.lay_over(PILLAR, SHORT)
    compiled = [compile_for(over, host, {}) for host in PILLAR.minions()]
    assert set.union(*(lives(one) for one in compiled)) == {180}
    assert {one["pki"]["renew_fraction"] for one in compiled} == {PILLAR.pki.renew_fraction}
    assert trial.lay_over(PILLAR, None) is PILLAR


def test_nothing_else_changes():
    def rest(pillar):
        values = pillar.model_dump()
        for certificate in values["certificates"].values():
            certificate.pop("ttl_s")
        return values

    assert rest(trial.lay_over(PILLAR, SHORT)) == rest(PILLAR)


def test_a_load_passes_the_proxies_and_nothing_else_changes():
    over = trial.lay_over(PILLAR, LOADED)
    compiled = compile_for(over, "sip-1", {})
    assert compiled["routing"]["pike"]["requests"] == 5000
    assert compiled["routing"]["cleartext_trunks"] == ["198.18.64.100"]
    values = over.model_dump()
    assert compiled["routing"]["registrations"]["per_source"] == 7000
    values["routing"]["pike"]["requests"] = PILLAR.routing.pike.requests
    values["routing"]["registrations"] = PILLAR.routing.registrations.model_dump()
    values["routing"]["cleartext_trunks"] = PILLAR.routing.cleartext_trunks
    assert values == PILLAR.model_dump()


def test_its_fraction_takes_the_place_of_the_pillars():
    over = trial.lay_over(PILLAR, SHORT.model_copy(update={"renew_fraction": 0.9}))
    assert compile_for(over, "sip-1", {})["certificates"]["kamailio"]["renew_fraction"] == 0.9


def test_a_life_that_the_intermediate_does_not_have_is_refused():
    longer = Trial(certificate_ttl_s=PILLAR.pki.intermediate_ttl_s + 1, began=0)
    with pytest.raises(Problem, match=r"less than pki\.intermediate_ttl_s"):
        trial.lay_over(PILLAR, longer)


@pytest.mark.parametrize(
    "text",
    ["", "{", '{"certificate_ttl_s": 59, "began": 0}', '{"certificate_ttl_s": 180}',
     '{"certificate_ttl_s": 180, "began": 0, "hosts": ["sip-1"]}', '{"began": 0}',
     '{"load": {"requests": 9}, "began": 0}'],
)  # fmt: skip
def test_a_file_that_is_none_is_refused(state, text):
    trial.file(state).write_text(text)
    with pytest.raises(Problem, match="is refused"):
        trial.read(state)


def test_the_master_lays_it_over_while_the_file_is_there(state, ext_pillar):
    ordinary = lives(ext_pillar("sip-1")["voip"])
    trial.file(state).write_text(SHORT.model_dump_json())
    assert lives(ext_pillar("sip-1")["voip"]) == {180}
    assert trials.lift() is True
    assert lives(ext_pillar("sip-1")["voip"]) == ordinary != {180}


def test_a_lifted_trial_is_remembered_until_it_is_finished(state, monkeypatch):
    assert trials.lift() is False
    trial.file(state).write_text(SHORT.model_dump_json())
    assert (trials.lift(), trials.lift()) == (True, True)
    monkeypatch.setattr(trials, "_refresh", lambda *_: None)
    monkeypatch.setattr(trials, "renew", lambda *_: None)
    monkeypatch.setattr(trials.client, "apply", lambda *_, **__: trials.client.Job(jid="1"))
    trials.finish(PILLAR, print)
    assert trials.lift() is False
    assert json.dumps(sorted(path.name for path in state.iterdir())) == "[]"


@pytest.mark.parametrize(
    ("over", "applied"), [(SHORT, [(["devstack"], ["vault"])]), (LOADED, [(["sip-1"], ())])]
)
def test_what_a_trial_changed_is_applied_again_at_its_end(state, monkeypatch, over, applied):
    done = []

    def apply(hosts, mods, **_):
        done.append((hosts, mods))
        return trials.client.Job(jid="1")

    trial.file(state).write_text(over.model_dump_json())
    monkeypatch.setattr(trials, "_refresh", lambda *_: None)
    monkeypatch.setattr(trials, "renew", lambda *_: done.append("renewed"))
    monkeypatch.setattr(trials.client, "apply", apply)
    assert trials.end(PILLAR, print) is True
    assert done == [*applied, *(["renewed"] if over is SHORT else [])]


def test_real_servers_are_given_none(state):
    class Hosts:
        name = "hosts"

    with pytest.raises(Problem, match="Real servers"):
        trials.begin(PILLAR, Hosts(), SHORT, print)
    assert trial.read(state) is None


@pytest.mark.parametrize("life_s", [420, 900, 3600])
def test_sealed_certificates_fall_due_soon_after_they_were_signed(life_s):
    whole = life_s + PILLAR.pki.backdate_s
    due = life_s - whole * run.due_after(PILLAR, life_s)
    assert due == pytest.approx(run.DUE_S, abs=1)


def test_words_for_a_status():
    said = trials.words(SHORT.model_copy(update={"began": time.time()}))
    assert "lives 180 s" in said
    assert "./voip up" in said
    assert "198.18.64.100 may speak cleartext SIP" in trials.words(LOADED)
