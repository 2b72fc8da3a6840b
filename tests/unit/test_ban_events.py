"""The beacon on bans, and the security events that the master makes of them."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError
from salt.exceptions import CommandExecutionError

from voip_stack.events import bans, dispatch, security
from voip_stack.paths import pillar_dir
from voip_stack.pillar import load
from voip_stack.pillar.beacons import compile_beacons

CHECKOUT = Path(__file__).parents[2]


def ban(source, reason="auth", left_s=900):
    return {"source": source, "reason": reason, "left_s": left_s}


@pytest.fixture
def beacon(monkeypatch):
    """The beacon of a host whose proxy has `beacon.bans`, an exception for one that hangs."""
    monkeypatch.syspath_prepend(str(CHECKOUT / "_utils"))
    spec = importlib.util.spec_from_file_location("b", CHECKOUT / "_beacons/voip_bans.py")
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = before
    monkeypatch.setattr(module.voip_event, "signed", lambda opts, kind, **data: {"data": data})
    module.__opts__ = {}
    module.bans = []

    def ask(timeout_s):
        assert timeout_s <= 1  # the minion waits meanwhile
        if isinstance(module.bans, Exception):
            raise module.bans
        return module.bans

    module.__salt__ = {"kamailio.bans": ask}
    return module


CONFIG = [{"interval": 10}, {"proxies": ["kamailio"]}]


def test_a_ban_is_told_once(beacon):
    assert beacon.beacon(CONFIG) == []
    beacon.bans = [ban("198.51.100.7")]
    (event,) = beacon.beacon(CONFIG)
    assert event["tag"] == "source/banned"
    assert event["data"] == {"proxy": "kamailio", "bans": beacon.bans, "more": 0}
    assert beacon.beacon(CONFIG) == []
    beacon.bans = [ban("198.51.100.7"), ban("2001:db8::/64", "flood")]
    (event,) = beacon.beacon(CONFIG)
    assert event["data"]["bans"] == [ban("2001:db8::/64", "flood")]


def test_a_second_ban_of_a_source_is_told(beacon):
    for bans_now, told in (([ban("198.51.100.7")], 1), ([], 0), ([ban("198.51.100.7")], 1)):
        beacon.bans = bans_now
        assert len(beacon.beacon(CONFIG)) == told


def test_an_event_is_bounded(beacon):
    beacon.bans = [ban(f"198.51.100.{index}") for index in range(1, 51)]
    (event,) = beacon.beacon(CONFIG)
    assert len(event["data"]["bans"]) == beacon.MOST
    assert event["data"]["more"] == 50 - beacon.MOST
    bans.Banned.model_validate(event["data"])


def test_a_proxy_that_hangs_tells_nothing_and_forgets_nothing(beacon):
    beacon.bans = [ban("198.51.100.7")]
    assert len(beacon.beacon(CONFIG)) == 1
    known, beacon.bans = beacon.bans, CommandExecutionError("no answer")
    assert beacon.beacon(CONFIG) == []
    beacon.bans = known
    assert beacon.beacon(CONFIG) == []


def test_its_settings_are_made_for_hosts_with_a_proxy(beacon):
    pillar = load(pillar_dir())
    assert "voip_bans" not in compile_beacons(pillar, "pbx-1", pillar.components_of("pbx-1"))
    settings = compile_beacons(pillar, "sip-1", pillar.components_of("sip-1"))["voip_bans"]
    assert beacon.validate(settings) == (True, "valid")
    assert beacon.validate([{"interval": 10}])[0] is False


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """recorded() -> the security events so far."""
    monkeypatch.setenv("VOIP_STATE_DIR", str(tmp_path))
    monkeypatch.setattr(security, "_minute", {})

    def read():
        file = tmp_path / "events" / "security.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    return read


def test_each_is_a_security_event(recorded):
    data = {"proxy": "kamailio", "bans": [ban("198.51.100.7"), ban("2001:db8::/64", "flood", 300)],
            "more": 3}  # fmt: skip
    assert dispatch.handle("sip-1", "source/banned", data) == "done"
    found = recorded()
    assert {item["kind"] for item in found} == {"source/banned"}
    assert [item["detail"] for item in found] == [
        "kamailio shut 198.51.100.7 out for 900 s more: it guessed passwords",
        "kamailio shut 2001:db8::/64 out for 300 s more: it flooded",
        "kamailio shut 3 more out: ./voip bans list",
    ]


@pytest.mark.parametrize(("host", "proxy"), [("pbx-1", "kamailio"), ("media-1", "rtpengine")])
def test_a_host_without_that_proxy_has_no_say(recorded, host, proxy):
    data = {"proxy": proxy, "bans": [ban("198.51.100.7")], "more": 0}
    dispatch.handle(host, "source/banned", data)
    assert [item["kind"] for item in recorded()] == ["event/not-its-own"]


def test_what_is_no_address_is_not_repeated(recorded):
    data = {"proxy": "kamailio", "bans": [ban("....../////")], "more": 0}
    assert dispatch.handle("sip-1", "source/banned", data) == "done"
    assert "....../////" not in recorded()[0]["detail"]


@pytest.mark.parametrize(
    "wrong",
    [{"source": "$(reboot)"}, {"source": "198.51.100.7\n"}, {"reason": "else"}, {"left_s": -1}],
)
def test_what_no_proxy_would_tell_is_refused(wrong):
    with pytest.raises(ValidationError):
        bans.Ban.model_validate(ban("198.51.100.7") | wrong)
