"""When an identity is due, what the beacon tells, and what a delivery that failed is called."""

import json
import ssl
import sys
import types
from pathlib import Path

import pytest

from voip_stack import identity, paths
from voip_stack.pillar import load
from voip_stack.pillar.identity import SLOWEST_S, beacon
from voip_stack.problem import Problem

CHECKOUT = Path(__file__).parents[2]
sys.path[:0] = [str(CHECKOUT / "_utils"), str(CHECKOUT / "_beacons")]

import voip_identity  # noqa: E402
import voip_vault_client  # noqa: E402
import voip_vault_identity  # noqa: E402


@pytest.mark.parametrize(
    ("issued", "expires", "now", "due"),
    [
        (0, None, 10**9, False),  # for ever
        (0, 100, 0, False),
        (0, 100, 66, False),
        (0, 100, 68, True),
        (0, 100, 500, True),
        (1000, 1060, 1030, False),
        (1000, 1060, 1041, True),
    ],
)
def test_due_by_a_part_of_its_life(issued, expires, now, due):
    entry = {"issued": issued, "expires": expires}
    assert voip_vault_identity.is_due(entry, 0.33, now) is due


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, 0),  # not enrolled yet
        ("", 0),
        ("{", 0),
        (json.dumps({"issued": 0, "expires": None}), 0),
        (json.dumps({"issued": 0, "expires": 4_000_000_000}), 1),
        (json.dumps({"issued": 1_900_000_000, "expires": 5_000_000_000}), 0),
    ],
)
def test_beacon(content, told, tmp_path, monkeypatch):
    (tmp_path / "vault").mkdir()
    if content is not None:
        (tmp_path / "vault" / "approle.json").write_text(content)
    monkeypatch.setattr(voip_identity, "__opts__", {"voip_stack_dir": tmp_path}, raising=False)
    monkeypatch.setattr(voip_identity.voip_event, "signed", lambda opts, kind: {"kind": kind})
    monkeypatch.setattr(voip_identity, "time", types.SimpleNamespace(time=lambda: 3_500_000_000))
    found = voip_identity.beacon([{"interval": 60}, {"renew_fraction": 0.33}])
    assert found == [{"tag": "identity/expiring", "kind": "identity/expiring"}] * told


@pytest.mark.parametrize(("life_s", "interval_s"), [(7_776_000, SLOWEST_S), (600, 9), (60, 1)])
def test_beacon_looks_several_times_before_the_end(life_s, interval_s):
    pillar = load(paths.pillar_dir())
    vault = pillar.vault.model_copy(update={"secret_id_ttl_s": life_s, "renew_fraction": 0.33})
    found = beacon(pillar.model_copy(update={"vault": vault}), "sip-1", [])
    assert found["interval"] == interval_s
    assert voip_identity.validate([{key: value} for key, value in found.items()])[0]


@pytest.mark.parametrize(
    ("took_s", "kind"), [(0.2, "identity/intercepted"), (130, "identity/undelivered")]
)
def test_a_slow_machine_is_no_thief(took_s, kind):
    times, events = iter([0.0, took_s, took_s, took_s]), []
    answers = iter([{"spent": "spent or expired"}, {"accessor": "a2"}])
    delivery = identity.Delivery(
        "devstack",
        lambda host, function, **_: {"issue": "1", "ttl_s": 120},
        lambda *event: events.append(event),
        lambda: next(times),
    )
    assert delivery.deliver("sip-1", lambda issued: next(answers)) == "a2"
    assert [event[:2] for event in events] == [(kind, "sip-1")]


def test_what_was_issued_is_withdrawn_when_the_host_fails():
    asked = []

    def ask(host, function, **_):
        asked.append(function)
        return {"issue": "1", "ttl_s": 120}

    def accept(_):
        raise Problem("sip-1 did not answer")

    with pytest.raises(Problem, match="did not answer"):
        identity.Delivery("devstack", ask).deliver("sip-1", accept)
    assert asked == ["voip_vault_identity.issue", "voip_vault_identity.withdraw"]


@pytest.mark.parametrize(
    ("code", "said"), [(9, "not valid yet"), (10, "expired"), (20, "does not verify")]
)
def test_a_wrong_clock_is_not_called_a_wrong_ca(code, said):
    inner = ssl.SSLCertVerificationError("certificate verify failed")
    inner.verify_code = code
    assert said in voip_vault_client._tls_fault(OSError(OSError(inner)))
