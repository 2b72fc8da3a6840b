"""What a soak makes of what it saw: each promise broken by itself, and who calls whom."""

from collections import Counter

import pytest

from voip_stack import paths
from voip_stack.bench import reloads
from voip_stack.pillar import load
from voip_stack.pillar.components import PROXIES
from voip_stack.problem import Problem
from voip_stack.soak import report as reports
from voip_stack.soak.calls import ALWAYS_UP, HELD, SHORT, FailedCall, slots
from voip_stack.soak.daemons import Daemon, changed
from voip_stack.soak.handshakes import Failure, Seen
from voip_stack.soak.report import Calls, Certificate, Report, Sealed, Watched

PILLAR = load(paths.pillar_dir())
KAMAILIO = ("sip-1", "kamailio")


def shown(*serials):
    """One listener's certificates, each of 180 s, shown 110 s after the one before."""
    return [Seen(name, 110.0 * i + 180, 110.0 * i) for i, name in enumerate(serials)]


def good(**changes):
    values = {
        "certificates": [Certificate(*KAMAILIO, 4, 16, 8, 62.1, 3.0)],
        "calls": Calls(ALWAYS_UP, 400, 900, 120, []),
        "handshakes": Watched(9, 50_000, 0, []),
        "daemons": 7,
    }
    return Report("certificates", 30, "2026-01-01T00:00:00+0000", 180, **(values | changes))


def test_kept_promises():
    report = good()
    assert report.broken == []
    assert report.as_dict()["ok"] is True
    assert "every promise was kept" in reports.table(report)


FAILED = FailedCall(1.0, "1001", "*43", True, "audio: 1001 does not hear")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"calls": Calls(ALWAYS_UP, 9, 9, 9, [FAILED])}, "1 calls failed"),
        ({"calls": Calls(9, 9, 9, 9, [])}, "only 9 calls were up"),
        ({"handshakes": Watched(9, 10, 1, [])}, "1 of 10 handshakes failed"),
        ({"handshakes": Watched(9, 0, 0, [])}, "0 of 0 handshakes failed"),
        ({"restarted": ["sip-1 kamailio: process 1 is 2 now"]}, "started anew"),
        ({"certificates": [Certificate(*KAMAILIO, 4, 7, 8, 1.0)]}, "renewed 7 times, 8 promised"),
        ({"certificates": []}, "no certificate was seen"),
        ({"is_interrupted": True}, "ended before its time"),
        ({"sealed": Sealed(600, 0, True)}, "no new call"),
        ({"sealed": Sealed(600, 9, False)}, "did not stay sealed"),
        (
            {"sealed": Sealed(600, 9, True), "certificates": [Certificate(*KAMAILIO, 1, 9, 1, 1)]},
            "not renewed after the unsealing",
        ),
    ],
)
def test_each_broken_promise_is_said(changes, said):
    report = good(**changes)
    assert len(report.broken) == 1
    assert said in report.broken[0]
    assert said in reports.table(report)
    assert report.as_dict()["ok"] is False


def test_the_reasons_are_shown_once_each():
    failures = [Failure("sip-1", "kamailio 1.2.3.4:5071", float(i), "reset") for i in range(30)]
    text = reports.table(good(handshakes=Watched(9, 10, 30, failures)))
    assert "kamailio 1.2.3.4:5071: reset (30 times)" in text


def test_a_certificate_counts_by_its_slowest_listener():
    seen = {KAMAILIO: {"a": shown("1", "2", "3"), "b": shown("1", "2")}}
    (found,) = reports.certificates(seen, [KAMAILIO], 1)
    assert (found.listeners, found.renewed, found.left_s) == (2, 1, 70.0)


def test_a_certificate_that_nobody_saw_was_not_renewed():
    (found,) = reports.certificates({}, [KAMAILIO], 8)
    assert (found.listeners, found.renewed, found.left_s) == (0, 0, None)


@pytest.mark.parametrize(("unsealed", "after"), [(200.0, 20.0), (330.0, None)])
def test_caught_up_when_every_listener_shows_a_new_one(unsealed, after):
    late = [Seen("1", 180, 0), Seen("2", 400, 220)]
    seen = {KAMAILIO: {"a": shown("1", "2", "3"), "b": late}}
    (found,) = reports.certificates(seen, [KAMAILIO], 1, unsealed)
    assert found.caught_up_s == after


@pytest.mark.parametrize(("minutes", "times"), [(30, 8), (5, 1), (1, 0)])
def test_how_often_is_promised(minutes, times):
    assert reports.needed(minutes, 180) == times


def test_slots():
    every = slots(PILLAR)
    assert len(every) == HELD + SHORT == ALWAYS_UP + 1
    assert sum(slot.is_held for slot in every) == HELD
    echo = PILLAR.routing.echo_extension
    called = [slot.callee for slot in every if slot.callee != echo]
    assert len(called) == len(set(called)) == 2, "two calls at once would ring at one device"
    callers = Counter(slot.caller for slot in every)
    assert max(callers.values()) < PILLAR.toll.calls.at_once


def test_restarts():
    before = {KAMAILIO: Daemon(10, 0), ("pbx-1", "asterisk"): Daemon(20, 1)}
    assert changed(before, before) == []
    assert changed(before, before | {KAMAILIO: Daemon(11, 1)}) == [
        "sip-1 kamailio: process 10 is 11 now"
    ]


# ---------------------------------------------------------------- bench reloads
def test_the_sip_daemons_are_those_that_serve_sip_over_tls():
    proxies = [("sip-1", name) for name in PROXIES if name in PILLAR.roles["sip"]]
    assert sorted(reloads.daemons(PILLAR)) == [("pbx-1", "asterisk"), *proxies]


def test_growth_after_the_warm_up():
    memory = [[number, 900 if number < 20 else 1000 + number] for number in range(5, 201, 5)]
    first, last, growth, slope = reloads.grown(memory, 20)
    assert (first, last, slope) == (1035, 1185, 1)
    assert growth == pytest.approx(14.49)
    with pytest.raises(Problem, match="Too few rounds"):
        reloads.grown([[5, 1000]], 1)


FOUND = {
    "seconds": [0.5] * 40, "sent": 1000, "answered": 1000, "dropped": 0, "reasons": [],
    "memory_kib": [[number, 1000] for number in range(5, 41, 5)],
    "before": {"pid": 1, "restarts": 0, "memory_kib": 1000},
    "after": {"pid": 1, "restarts": 0, "memory_kib": 1000},
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "missed"),
    [
        ({}, []),
        ({"answered": 999}, ["x: OPTIONS unanswered"]),
        ({"dropped": 1}, [f"x: dropped of {reloads.CLIENTS} connections"]),
        ({"after": {"pid": 2, "restarts": 1}}, ["x: crashes and restarts"]),
        ({"seconds": [0.5] * 39}, ["x: reloads"]),
        ({"memory_kib": [[n, 1000 + 10 * n] for n in range(5, 41, 5)]}, ["x: memory grown by"]),
    ],
)
def test_what_a_run_of_reloads_shows(change, missed):
    found = reloads.results("x", FOUND | change, 40)
    assert [result.name for result in found if result.met is False] == missed
