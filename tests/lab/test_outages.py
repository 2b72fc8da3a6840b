"""What each proxy does without what it leans on: a call that goes on, goes on; the rest is told.

Parts that die and come back by themselves are test_repair.py's and test_media_tier.py's; here they
stay away, in maintenance, so that nobody repairs them.
"""

from __future__ import annotations

import contextlib
import time

import pytest

from tests.lab import scenarios
from tests.lab.phones import call, phones, talk
from tests.lab.relays import none_left
from tests.told import tell
from voip_stack import vault
from voip_stack.repair import state

TOLD = "outages: what each proxy does meanwhile"
# Until the database was silent for four seconds, those are let in who are remembered (ADR 27).
REMEMBERED_S = 5
# A scenario of tests/lab/scenarios/ringing.yaml.
BOTH = "one device at each proxy, one answers"
UNITS = {
    "database": ("devstack", "postgresql@*-main"),
    "redis": ("devstack", "redis-server"),
    "pbx": ("pbx-1", "asterisk"),
}


@pytest.fixture
def without(on):
    """without("redis"): it is stopped for as long as the block lasts; hangs: it only hangs."""

    @contextlib.contextmanager
    def stop(what, hangs=False):
        host, pattern = UNITS[what]
        listed = on(host, "systemctl", "list-units", "--plain", "--no-legend", f"{pattern}.service")
        unit = listed.split()[0]
        state.maintain(host, 600, "a test")
        away, back = ["kill", "--signal=STOP"], ["kill", "--signal=CONT"]
        on(host, "systemctl", *(away if hangs else ["stop"]), unit)
        try:
            yield
        finally:
            on(host, "systemctl", *(back if hangs else ["start"]), unit)
            state.end_maintenance(host)

    return stop


@pytest.fixture
def answers(ask, pillar):
    """answers() -> {what was asked: the last answer}, to devices that come now."""
    (password,) = vault.subscriber_passwords(["1003"]).values()
    body = scenarios.BODIES["srtp"].replace("{client}", str(pillar.hosts["client-1"].external))
    mine = {"user": "1003", "password": password, "timeout_s": 15}

    def look():
        began = time.monotonic()
        registration = ask("register", **mine)["statuses"][-1]
        called = ask("call", to="*43", body=body, hold_s=0.1, **mine)
        found = {
            "alive": ask("request")["status"],
            "registration": registration,
            "call": called["statuses"][-1],
        }
        if found["call"][0] == 503:
            assert int(called["retry_after"]) > 0
        return found, time.monotonic() - began

    return look


@pytest.fixture
def again(answers, eventually):
    """again(): a device registers and calls, as soon as what was away is back."""

    def works():
        found, _ = answers()
        return {code for code, _ in found.values()} == {200}

    return lambda: eventually(works, 60, 1)


def test_without_redis_nothing_is_missing(proxy, without, answers, ladders):
    """Devices of one number at both proxies ring as well."""
    (both,) = (item for item in scenarios.read() if item.name == BOTH)
    with phones(proxy=proxy.name) as dialogue:
        call(dialogue)
        with without("redis"):
            found, took_s = answers()
            talk(dialogue, 1.5)
    with without("redis"):
        rang = ladders.play(both.devices, both.steps(), proxy.name)
        with phones(proxy=proxy.name) as dialogue:
            call(dialogue)
            talk(dialogue, 1.5)
    assert rang["failed"] is None
    assert {code for code, _ in found.values()} == {200}
    tell(TOLD, f"{proxy.name}, no Redis: registrations and calls as ever, {took_s:.1f} s")


def test_a_redis_that_hangs_is_not_waited_for(proxy, without, answers):
    """It takes connections and answers nothing: the proxy asks for no longer than a moment."""
    with phones(proxy=proxy.name) as dialogue:
        call(dialogue)
        with without("redis", hangs=True):
            looks = [answers() for _ in range(3)]
            talk(dialogue, 1.5)
    with without("redis", hangs=True), phones(proxy=proxy.name) as dialogue:
        call(dialogue)
        talk(dialogue, 1.5)
    assert {code for found, _ in looks for code, _ in found.values()} == {200}
    slowest_s = max(took_s for _, took_s in looks)
    tell(TOLD, f"{proxy.name}, Redis hangs: registrations and calls as ever, {slowest_s:.1f} s")


def test_without_the_database_calls_go_on(proxy, without, answers, again):
    """Nobody new can be let in: that is told with 503, at which a phone comes again."""
    with phones(proxy=proxy.name) as dialogue:
        call(dialogue)
        with without("database"):
            time.sleep(REMEMBERED_S)
            found, took_s = answers()
            talk(dialogue, 1.5)
    again()
    assert found["alive"] == [200, "OK"]
    refused = [503, "Subscriber Database Unavailable"]
    assert [found[what] for what in ("registration", "call")] == [refused] * 2
    tell(TOLD, f"{proxy.name}, no database: the call was heard; new ones 503 ({took_s:.1f} s)")


def test_calls_outlive_all_media_relays(proxy, answers, salt, on, eventually):
    """Silent meanwhile, heard again afterwards; who registers is let in."""
    with phones(proxy=proxy.name) as dialogue:
        call(dialogue)
        with none_left(salt, on, eventually):
            found, _ = answers()
            dialogue.hold(2)
        talk(dialogue, 1.5)
    assert found["alive"] == found["registration"] == [200, "OK"]
    assert found["call"] == [503, "No Media Relay Available"]
    tell(TOLD, f"{proxy.name}, no media relay: the call went on when one was back; new ones 503")


def test_without_the_pbx_devices_stay_registered(proxy, without, answers, again):
    """Each leg ends at the PBX: its calls end with it. Registrations do not."""
    with without("pbx"):
        found, _ = answers()
    again()
    assert found["alive"] == found["registration"] == [200, "OK"]
    assert found["call"] == [503, "No PBX Available"]
    tell(TOLD, f"{proxy.name}, no PBX: registrations as ever, calls 503")
