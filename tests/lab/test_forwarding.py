"""Call forwarding of pillar/subscribers, done by the PBX: each kind with real phones."""

import concurrent.futures
from dataclasses import replace

import pytest

from tests.lab.declared import subscribers
from tests.lab.phones import NUMBERS, logs, phones
from voip_stack import vault
from voip_stack.call.device import Baresip
from voip_stack.call.dialogue import CALLEE
from voip_stack.call.failure import CallError
from voip_stack.call.plan import make_plan
from voip_stack.paths import ca_file, pillar_dir
from voip_stack.pillar import load

TARGET = NUMBERS[1]
THIRD_RTP = (20400, 20598)
ALWAYS, AWAY, BUSY, SLOW, SUSPENDED = "1081", "1082", "1083", "1084", "1085"
FORWARDS = f"""\
number,name,state,forward_always,forward_busy,forward_no_answer,forward_unreachable,forward_after_s
{ALWAYS},Always,active,{TARGET},,,,
{AWAY},Away,active,,,,{TARGET},
{BUSY},Busy,active,,{TARGET},,,
{SLOW},Slow,active,,,{TARGET},,5
{SUSPENDED},Suspended,suspended,{TARGET},,,,
"""


@pytest.fixture(scope="module")
def declared(salt):
    """The subscribers of FORWARDS, in the database and in the PBX; nobody afterwards."""
    with subscribers(salt, "forwarding", FORWARDS):
        yield


@pytest.fixture(scope="module")
def dialogue(declared):
    """The caller, and the phone that calls are forwarded to."""
    with phones() as found:
        yield found


@pytest.fixture
def third(dialogue):
    """third(number): a registered phone of that number."""
    settings = dialogue.parties[CALLEE]

    def make(number):
        password = vault.subscriber_passwords([number])[number]
        own = replace(settings, number=number, password_secret=password, rtp_ports=THIRD_RTP)
        device = Baresip(dialogue.remote, number, own)
        device.open(ca_file().read_text(), make_plan(load(pillar_dir()), *NUMBERS).names)
        device.register()
        assert dialogue.remote.wait({number: ["REGISTER_OK"]}, 10, since=0)
        return device

    return make


def forwarded(dialogue, number):
    """A call to that number is answered by the phone of TARGET."""
    dialogue.call(f"sip:{number}@{dialogue.parties[CALLEE].domain}")
    dialogue.hang_up()


@pytest.mark.parametrize("number", [ALWAYS, AWAY])
def test_always_and_who_has_no_phone(dialogue, number):
    forwarded(dialogue, number)


@pytest.mark.parametrize("number", [BUSY, SLOW])
def test_busy_and_who_does_not_answer(dialogue, third, number):
    device = third(number)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        call = pool.submit(forwarded, dialogue, number)
        assert dialogue.remote.wait({number: ["CALL_INCOMING"]}, 10, since=0), logs(dialogue)
        if number == BUSY:
            device.refuse()
        call.result()


def test_who_is_suspended_forwards_nothing(dialogue):
    with pytest.raises(CallError) as refused:
        forwarded(dialogue, SUSPENDED)
    assert refused.value.sip_code == 480
