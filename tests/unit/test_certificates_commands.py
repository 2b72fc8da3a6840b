"""Revocation and the CA's rotation as the master leads them: order, and going on after a crash."""

import json
import sys
from pathlib import Path

import pytest

from voip_stack.certificates import authority, inventory, renew, revocation, revoke
from voip_stack.events import record
from voip_stack.events.locks import one_at_a_time
from voip_stack.master import client
from voip_stack.paths import pillar_dir
from voip_stack.pillar import load
from voip_stack.problem import Problem
from voip_stack.steps import Steps

sys.path[:0] = [str(Path(__file__).parents[2] / "_utils")]

import voip_authority_plan  # noqa: E402


class Platform:
    """Hosts and a Vault that answer what the master asks; `dies_at`: the call that kills it."""

    def __init__(self):
        self.calls = []
        self.dies_at = None
        self.document = {}
        self.default = "ca-1"
        self.issuers = ["ca-1"]
        self.serials = 0
        self.held = {}
        self.revoked = {}

    def did(self, what):
        if len(self.calls) == self.dies_at:
            raise KeyboardInterrupt
        self.calls.append(what)

    def renew(self, host, name, *, by):
        self.did(f"renew {host}/{name}")
        self.serials += 1
        self.held[host, name] = {"serial": f"{self.serials:x}", "authority": self.default}
        about = {"host": host, "name": name, "by": by, "outcome": "renewed", "why": "ordered"}
        return renew.Renewal(**about, seconds=0.1, serial=f"{self.serials:x}")

    def call(self, host, function, *arguments, timeout_s=0, **keywords):
        name = function.partition(".")[2]
        if name == "inventory":
            of = {key[1]: value for key, value in self.held.items() if key[0] == host}
            return [{"component": component, **value} for component, value in of.items()]
        if name == "chained":
            self.did(f"prove {host}/{arguments[0]}")
            return {}
        if name == "revoke":
            self.did(f"revoke {keywords['serial']}")
            self.revoked[keywords["serial"]] = 1
            return {"revoked_at": 1}
        if name == "revoked":
            return {serial: self.revoked.get(serial) for serial in keywords["serials"]}
        return getattr(self, name)(**keywords)

    def progress(self):
        phase = voip_authority_plan.phase(self.document)
        return {
            "phase": phase,
            "step": voip_authority_plan.step(self.document),
            "old": self.document.get("old"),
            "new": self.document.get("new"),
            "issuers": self.issuers,
            "due": False,
        }

    def advance(self, step, **more):
        self.did(step)
        found = {"begin": {"old": self.default}, "make": {"new": f"ca-{self.serials + 2}"}}
        self.document = voip_authority_plan.after(self.document, step, found.get(step))
        if step == "switch":
            self.default = self.document["new"]
        return self.progress()

    def refresh(self, pillar, without=None):
        self.did(f"lists without {without}" if without else "lists")
        return ["sip-1"]


@pytest.fixture
def pillar():
    return load(pillar_dir())


@pytest.fixture
def platform(pillar, tmp_path, monkeypatch):
    monkeypatch.setenv("VOIP_STATE_DIR", str(tmp_path))
    found = Platform()
    monkeypatch.setattr(client, "call", found.call)
    monkeypatch.setattr(revocation, "refresh", found.refresh)
    monkeypatch.setattr(revoke, "renew", found.renew)
    monkeypatch.setattr(authority, "renew", found.renew)
    for host, name in renew.held(pillar):
        found.renew(host, name, by="test")
    found.calls.clear()
    return found


@pytest.fixture
def run(pillar, platform):
    def revoked(**more):
        with Steps("test") as steps:
            return revoke.revoke(pillar, "pbx-1", "asterisk", steps, **more)

    return revoked


def serial(platform):
    return platform.held["pbx-1", "asterisk"]["serial"]


def test_another_one_before_the_vault_revokes(platform, run):
    before = serial(platform)
    done = run(reason="a test's")
    assert platform.calls == ["renew pbx-1/asterisk", f"revoke {before}", "lists"]
    assert (done["serial"], done["replaced_by"]) == (before, serial(platform))
    (entry,) = record.read(revoke.RECORD)
    assert (entry["serial"], entry["reason"]) == (before, "a test's")
    assert entry["by"]


@pytest.mark.parametrize("call", range(3))
def test_killed_at_any_step_it_goes_on_with_the_same_one(call, platform, run):
    before = serial(platform)
    platform.dies_at = call
    with pytest.raises(KeyboardInterrupt):
        run()
    platform.dies_at = None
    assert run()["serial"] == before
    assert platform.revoked == {before: 1}
    assert platform.calls.count("renew pbx-1/asterisk") == 1
    # It was ended: the next one is about the certificate that is in use then.
    now = serial(platform)
    assert run()["serial"] == now


def test_of_a_stolen_host_nothing_is_asked_that_it_could_refuse(platform, run):
    done = run(replace=False, serial="abc")
    assert platform.calls == ["revoke abc", "lists without pbx-1"]
    assert done["replaced_by"] is None


def test_an_older_one_by_its_number(platform, run):
    done = run(serial="abc")
    assert platform.calls == ["revoke abc", "lists"]
    assert done["replaced_by"] == serial(platform)


def test_every_certificate_between_the_lists_and_the_end(platform, pillar):
    said = []
    done = authority.rotate(pillar, said.append)
    every = [f"{host}/{name}" for host, name in renew.held(pillar)]
    assert platform.calls == [
        "begin",
        "make",
        "lists",
        "switch",
        *[f"renew {item}" for item in every],
        *[f"prove {item}" for item in every],
        "close",
        "withdraw",
        "lists",
        "remove",
        "lists",
    ]
    assert done["replaced"] == every
    assert done["steps"] == list(voip_authority_plan.STEPS)
    assert done["old"] == "ca-1" != done["new"]
    assert platform.progress()["phase"] == "stable"


@pytest.mark.parametrize("call", range(19))
def test_killed_at_any_call_the_master_goes_on(call, platform, pillar):
    platform.dies_at = call
    with pytest.raises(KeyboardInterrupt):
        authority.rotate(pillar, lambda _: None)
    platform.dies_at = None
    if platform.progress()["phase"] == "stable":
        assert authority.go_on(pillar, lambda _: None) is None
        return
    done = authority.go_on(pillar, lambda _: None)
    assert platform.progress()["phase"] == "stable"
    assert {item["authority"] for item in platform.held.values()} == {done["new"]}
    renewals = [item for item in platform.calls if item.startswith("renew")]
    assert len(renewals) == len(set(renewals)) == len(renew.held(pillar))


def test_a_daemon_that_does_not_show_it_holds_it_up(platform, pillar, monkeypatch):
    true = platform.call

    def call(host, function, *arguments, **keywords):
        if function == "voip_tls.chained" and host == "pbx-1":
            return {"192.168.64.30:5061": "nothing listens"}
        return true(host, function, *arguments, **keywords)

    monkeypatch.setattr(client, "call", call)
    with pytest.raises(Problem, match="nothing listens"):
        authority.rotate(pillar, lambda _: None)
    assert platform.progress()["phase"] == "issuing"


def test_two_rotations_never(platform, pillar):
    with one_at_a_time(authority.LOCK), pytest.raises(authority.Busy):
        authority.rotate(pillar, lambda _: None)
    assert platform.calls == []


def test_a_host_that_does_not_answer_is_listed_by_the_vault(platform, pillar, monkeypatch):
    hosts = ["sip-1", "pbx-1"]
    job = client.Job(returns={"sip-1": platform.call("sip-1", "voip_pki.inventory")})
    monkeypatch.setattr(client, "run", lambda *_, **__: job)
    platform.issued_to = lambda name: ["77"] if name == "pbx-1.voip.test" else []
    rows, notes = inventory.survey(pillar, hosts)
    assert json.dumps(rows)
    *answered, silent = rows
    assert {row["host"] for row in answered} == {"sip-1"}
    assert (silent["host"], silent["component"], silent["serial"]) == ("pbx-1", None, "77")
    assert "pbx-1: it does not answer" in notes[0]
