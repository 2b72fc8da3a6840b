"""`bench sip`: scenarios, statistics, the vendor's configuration, results, the picture."""

from xml.etree import ElementTree

import pytest

from voip_stack import paths
from voip_stack.bench.sip import bench, load, picture, scenarios, stock
from voip_stack.bench.sip.figures import (
    CALL,
    OURS,
    PACED,
    REGISTER,
    REPEAT,
    STOCK,
    Load,
    quantile,
    results,
)
from voip_stack.pillar import compile_for
from voip_stack.pillar import load as load_pillar
from voip_stack.problem import Problem

PILLAR = load_pillar(paths.pillar_dir())
VOIP = compile_for(PILLAR, "sip-1", {})
CALLED = "^8[0-9]{9}$"
STAT = (
    "StartTime;CurrentTime;CurrentCall;SuccessfulCall(C);FailedCall(C);\n"
    "a\tb\t100.0;a\tb\t101.0;5;10;0;\n"
    "a\tb\t100.0;a\tb\t103.0;7;50;1;\n"
    "a\tb\t100.0;a\tb\t108.0;6;250;2;\n"
    "a\tb\t100.0;a\tb\t112.0;0;260;2;\n"
    "a\tb\t100.0;a\tb"
)


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        (scenarios.register("voip.test"), 2),
        (scenarios.register_anew("voip.test"), 2),
        (scenarios.callee("voip.test"), 2),
        (scenarios.answer(), 3),
        (scenarios.call("voip.test", challenged=True), 5),
        (scenarios.call("voip.test", challenged=False), 3),
    ],
    ids=["register", "anew", "callee", "answer", "call", "trunk"],
)
def test_every_message_of_a_scenario_is_whole(text, messages):
    sent = ElementTree.fromstring(text).findall("send")  # noqa: S314 - our own
    assert len(sent) == messages
    for message in sent:
        head, _, body = message.text.lstrip("\n").partition("\n\n")
        lines = head.splitlines()
        assert lines[0].startswith("SIP/2.0 ") or lines[0].endswith(" SIP/2.0")
        assert "" not in lines
        assert lines[-1] == "Content-Length: [len]"
        assert ("a=crypto:" in body) == any("application/sdp" in line for line in lines)


def test_the_call_offers_srtp_and_proves_who_it_is():
    text = scenarios.call("voip.test", challenged=True)
    assert text.count("RTP/SAVP 8") == text.count("[field1]") + 1 == 2
    assert text.index('start_rtd="1"') < text.index('response="407"') < text.index('rtd="1"/')


def test_sipps_statistics_are_read_up_to_the_line_that_is_being_written():
    found = load.rows(STAT.splitlines())
    assert [row["done"] for row in found] == [10, 50, 250, 260]
    assert load.within(found, 102, 110) == (200, 5.0)
    assert load.within(found, 104, 107) == (0, 0.0)
    assert load.most_open([found, found]) == 14


def test_post_dial_delays_are_those_of_the_first_timer():
    lines = ["Date_ms;response_time_ms;rtd_no\n", "1795915959.1;12.5;1\n", "1795915959.2;99;2\n"]
    assert load.delays(lines) == [12.5]


def vendors(changed=()):
    """A file with each text that is edited, but for those that another version does not have."""
    edits = stock.edits(VOIP, CALLED)
    return "\n".join(old for number, (old, _) in enumerate(edits) if number not in changed)


def test_the_vendors_file_is_edited_where_its_comments_say():
    text = stock.configuration(vendors(), VOIP, CALLED)
    assert '"password_column", "ha1"' in text
    assert "udp:192.168.64.120:22222 udp:192.168.64.121:22222" in text
    assert 'pstn.gw_port = "5061;transport=tls"' in text
    with pytest.raises(Problem, match="0 times in it, once expected"):
        stock.configuration(vendors(changed=[2]), VOIP, CALLED)


def test_it_writes_back_as_often_as_it_is_told():
    text = vendors() + '\nmodparam("usrloc", "timer_interval", 60)\n'
    assert '"timer_interval", 60' in stock.configuration(text, VOIP, CALLED)
    assert '"timer_interval", 1)' in stock.configuration(text, VOIP, CALLED, 1)


def test_the_vendors_configuration_has_the_platforms_listeners_and_database():
    lines = stock.local(VOIP).splitlines()
    assert "listen=tls:198.18.64.10:5071" in lines
    assert '#!define DBURL "postgres://kamailio@/kamailio"' in lines
    assert "#!define WITH_ANTIFLOOD" not in lines


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.001, 1)])
def test_quantiles_are_values_that_were_measured(share, expected):
    assert quantile(list(range(100, 0, -1)), share) == expected


def a_load(who, what, rate, number=0, **more):
    given = {"way": "TLS", "done": 100, "failed": 0, "cpu_ms": {"sip-1 kamailio": 2.0}} | more
    return Load(who=who, what=what, round=number, rate=rate, **given)


LOADS = [
    a_load(OURS, REGISTER, 110.0, written=50),
    a_load(STOCK, REGISTER, 100.0),
    a_load(OURS, REGISTER, 180.0, 1),
    a_load(STOCK, REGISTER, 200.0, 1),
    a_load(OURS, REPEAT, 60.0),
    a_load(STOCK, REPEAT, 80.0),
    a_load(OURS, CALL, 20.0, failed=1),
    a_load(OURS, PACED, 10.0, delays_ms=[10.0] * 98 + [150.0, 300.0]),
]


def named(name):
    return {result.name: result for result in results(LOADS)}[name]


def test_it_is_told_how_many_registrations_were_written():
    assert named("registrations, TLS: voip-stack, written when it ended").value == 25.0
    assert named("registrations, TLS: stock, written when it ended").value == 0.0


def test_the_ratio_is_the_median_of_the_rounds_that_have_both():
    ratio = named("registrations, TLS: voip-stack : stock, median of rounds")
    assert (ratio.value, ratio.met) == (pytest.approx(1.0), True)
    repeated = named("registrations, repeated, TLS: voip-stack : stock, median of rounds")
    assert (repeated.value, repeated.met) == (pytest.approx(0.75), False)
    assert "calls, TLS: voip-stack : stock, median of rounds" not in [
        result.name for result in results(LOADS)
    ]


def test_what_failed_and_how_long_it_took_to_ring_have_goals():
    assert named("calls, TLS: voip-stack, failed").met is True
    delay = named("post-dial delay at 10 calls/s, voip-stack, p99")
    assert (delay.value, delay.met) == (150.0, True)
    assert named("CPU of a call, TLS, voip-stack: sip-1 kamailio").value == 2.0


def test_the_picture_has_a_bar_for_each_median():
    root = ElementTree.fromstring(picture.svg(picture.panels(LOADS)))  # noqa: S314 - our own
    texts = [item.text for item in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"TLS, voip-stack", "TLS, stock", "145", "150", "2.00"} <= set(texts)


def test_users_are_shared_out_among_sipps_processes():
    found = bench._shared("devices", ["1;a", "2;b", "3;c"], 2)
    assert found == {
        "devices-0.csv": "SEQUENTIAL\n1;a\n3;c\n",
        "devices-1.csv": "SEQUENTIAL\n2;b\n",
    }
