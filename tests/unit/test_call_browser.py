"""A browser as a user agent: its rules of names, its tone, and what the page is told and tells."""

import json
import os

import pytest

from voip_stack.call import chromium, tones
from voip_stack.call.browser import Browser
from voip_stack.call.devtools import DevTools
from voip_stack.call.failure import CallError
from voip_stack.call.plan import make_plan
from voip_stack.call.remote import Remote
from voip_stack.call.useragent import Settings, StreamState
from voip_stack.paths import pillar_dir
from voip_stack.pillar import load
from voip_stack.problem import Problem

PILLAR = load(pillar_dir())
PASSWORD = "s3cret-Pass_word"


@pytest.mark.parametrize(
    ("address", "rule"),
    [("198.18.64.10", "198.18.64.10"), ("fd64::10", "[fd64::10]")],
)
def test_only_the_proxys_name_resolves(address, rule):
    found = chromium.resolver_rules({"sip.voip.test": address})
    assert found == f"MAP sip.voip.test {rule}, MAP * ~NOTFOUND"


def test_the_tone_is_one_that_is_recognised():
    samples = list(memoryview(chromium.tone(600)).cast("h"))
    report = tones.judge(
        samples, chromium.SAMPLE_RATE, tone_hz=600, expected_s=chromium.TONE_S, echo_hz=1000
    )
    assert report.ok, report


def test_a_browser_comes_to_the_secure_websocket():
    plan = make_plan(PILLAR, "1001", "1002", browsers=["1001"])
    settings = Settings.of(plan, "1001", PASSWORD, 600, (20000, 20198))
    wss = PILLAR.services["kamailio"]["wss"].ports[0]
    assert (settings.proxy_port, settings.keying) == (wss, "dtls+ice")
    assert plan.proxy_for("1001").endswith(f":{wss}")
    assert Settings.of(plan, "1002", PASSWORD, 1000, (20200, 20398)).keying == "sdes"
    assert plan.page == f"https://{PILLAR.site.proxy_name}:8445/"


def test_without_a_web_phone_no_browser_calls():
    roles = PILLAR.roles | {"sip": ["pgbouncer", "kamailio"]}
    plan = make_plan(PILLAR.model_copy(update={"roles": roles}), "1001", "1002")
    with pytest.raises(Problem, match="serves the web phone"):
        _ = plan.page


def browser(answers):
    """A browser whose page answers expressions from a table, by the first words that fit."""

    def ask(method, **params):
        expression = params.get("expression", "")
        found = [item for words, item in answers.items() if expression.startswith(words)]
        return found[0] if found else {"result": {}}

    plan = make_plan(PILLAR, "1001", "1002", browsers=["1001"])
    settings = Settings.of(plan, "1001", PASSWORD, 600, (20000, 20198))
    made = Browser(Remote(["true"]), "a", settings, plan.page, list)
    made.page.ask = ask
    return made


def value(item):
    return {"result": {"value": item}}


def test_a_button_that_is_not_to_be_pressed_is_a_failed_call():
    with pytest.raises(CallError, match="button hang-up"):
        browser({"((it)": value(False)}).hang_up()


def test_a_page_without_the_proxy_is_a_failed_call():
    with pytest.raises(CallError, match="no proxy at port"):
        browser({"[...": value(["wss://x:1"])}).register()


def test_an_exception_in_the_page_tells_no_password():
    details = {"exception": {"description": "TypeError: no field\n  at fill"}, "text": PASSWORD}
    answers = {"[...": value(["wss://x:8444"]), "for (": {"exceptionDetails": details}}
    with pytest.raises(CallError, match="TypeError: no field") as caught:
        browser(answers).register()
    assert PASSWORD not in str(caught.value)


def test_the_pages_counters_are_those_of_any_user_agent():
    found = {"codecSent": "PCMA", "codecReceived": "PCMA", "sent": 200, "received": 199,
             "srtp": "AES_CM_128_HMAC_SHA1_80", "address": "fd64::1", "port": 40000}  # fmt: skip
    state = browser({"voip.state": value(found)}).state()
    assert state == StreamState("PCMA", "PCMA", 200, 199, True, 40000, "fd64::1")


def test_what_the_page_tells_is_an_event():
    page = browser({})
    told = {
        "name": "tellVoip",
        "payload": json.dumps({"kind": "CALL_CLOSED", "at": 0, "param": "486 Busy"}),
    }
    page._take("Runtime.bindingCalled", told)
    page._ended()
    assert [(event.ua, event.kind, event.text) for event in page.remote.events] == [
        ("a", "CALL_CLOSED", "486 Busy"),
        ("a", "ENDED", "the browser's pipe closed"),
    ]


def test_a_browser_that_ends_is_no_answer_and_is_told():
    (theirs_in, ours_out), (ours_in, theirs_out) = os.pipe(), os.pipe()
    ended = []
    devtools = DevTools(ours_out, ours_in, lambda *_: None, lambda: ended.append(True))
    os.write(theirs_out, b'{"id": 1, "result": {"a": 1}}\0{"method": "x"}\0')
    assert devtools.ask("Browser.getVersion") == {"a": 1}
    os.close(theirs_out)
    with pytest.raises(CallError, match="does not answer"):
        devtools.ask("Browser.close")
    devtools.close()
    os.close(theirs_in)
    assert ended == [True]
