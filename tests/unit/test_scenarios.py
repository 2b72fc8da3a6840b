"""Scenarios of the conformance tests: what may be written, how an answer is judged."""

import pytest
from pydantic import ValidationError

from tests.lab import scenarios
from tests.lab.scenarios import Scenario


def scenario(**more):
    return Scenario(topic="calls", name="x", **{"request": {}} | more)


def test_the_table_in_the_docs_is_current():
    text = scenarios.DOCUMENT.read_text()
    assert text == scenarios.rendered(text), "run: python -m tests.lab.scenarios"


def test_no_two_have_one_name():
    names = [(item.topic, item.name) for item in scenarios.read()]
    assert len(names) == len(set(names)) > 40


@pytest.mark.parametrize(
    "more",
    [
        {"answers": [200], "refused": True},
        {},
        {"answers": [200], "call": {}},
        {"answers": [200], "answer": [200]},
        {"answers": [200], "expected": "200"},
    ],
    ids=["two expectations", "none", "two things sent", "unknown key", "words without a ladder"],
)
def test_what_says_too_much_or_too_little_is_refused(more):
    with pytest.raises(ValidationError):
        scenario(**more)


STEP = {"alice": "sends INVITE", "to": "1002"}


def test_a_ladder_is_steps_of_its_devices():
    item = Scenario(topic="x", name="x", devices={"alice": "1001"}, ladder=[STEP], expected=486)
    assert item.steps() == [{"device": "alice", "does": "sends INVITE", "to": "1002"}]
    assert item.expectation == "486"


@pytest.mark.parametrize(
    "more",
    [
        {"ladder": [STEP]},
        {"ladder": [STEP], "answers": [486]},
        {"ladder": [{"bob": "gets INVITE"}], "expected": "486"},
        {"ladder": [STEP], "expected": "486", "request": {}},
    ],
    ids=["nothing expected", "an answer", "a device of nobody", "two things sent"],
)
def test_a_ladder_that_is_none_is_refused(more):
    with pytest.raises(ValidationError):
        Scenario(topic="x", name="x", devices={"alice": "1001"}, **more)


def test_words_and_passwords_are_filled_in():
    item = Scenario(topic="calls", name="x", call={"to": "{word}", "body": "srtp"}, answers=[404])
    order = item.order({"word": "9999", "client": "198.18.64.100"}, {"1001": "secret"})
    assert (order["what"], order["to"], order["password"]) == ("call", "9999", "secret")
    assert "IN IP4 198.18.64.100" in order["body"]


@pytest.mark.parametrize(
    ("more", "found", "is_right"),
    [
        ({"answers": [403]}, {"status": [403, "Forbidden"]}, True),
        ({"answers": ["403 Forbidden"]}, {"status": [403, "Denied"]}, False),
        ({"answers": ["4xx"]}, {"status": [486, "Busy Here"]}, True),
        ({"answers": [401, 200]}, {"statuses": [[401, "Unauthorized"]]}, False),
        ({"answers": [403]}, {"failed": "TimeoutError"}, False),
        ({"answers": [403], "warning": "TLS"}, {"status": [403, "x"], "warning": None}, False),
        ({"unanswered": True}, {"failed": "TimeoutError"}, True),
        ({"unanswered": True}, {"status": [200, "OK"]}, False),
        ({"refused": True}, {"status": [400, "Bad Request"]}, True),
        ({"refused": True}, {"status": None, "end": "ConnectionError"}, True),
        ({"refused": True}, {"status": [200, "OK"]}, False),
        ({"refused": True}, {"failed": "ConnectionRefusedError"}, False),
    ],
)
def test_an_answer_is_judged(more, found, is_right):
    assert (scenarios.problem(scenario(**more), found) is None) is is_right
