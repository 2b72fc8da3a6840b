"""Who calls, as the callee's own device is told: what pillar says, whatever the caller says.

At each proxy the same.
"""

import re

import pytest

from tests.lab.declared import subscribers
from tests.lab.phones import SDP

KNOWN, PLAIN, CALLEE, FORWARDED, LIED = "1071", "1072", "1073", "1074", "Your bank"
TABLE = f"""\
number,name,caller_id,forward_always,forward_unreachable
{KNOWN},Ann Müller,+4930123471,,
{PLAIN},Bo,,,
{CALLEE},Callee,,,
{FORWARDED},Forwarded,,{CALLEE},
"""
SHOWN = {KNOWN: '"Ann Müller" <sip:+4930123471@{}>', PLAIN: f'"Bo" <sip:{PLAIN}@{{}}>'}
LIES = [
    f'P-Asserted-Identity: "{LIED}" <sip:+49800123@{{}}>',
    f'p-preferred-IDENTITY: "{LIED}" <sip:+49800123@{{}}>',
    f'Remote-Party-ID: "{LIED}" <sip:+49800123@{{}}>;party=calling;screen=yes',
    "Diversion: <sip:+49800123@{}>;reason=unconditional",
    "History-Info: <sip:+49800123@{}>;index=1",
    "X-Voip-Call: +49800123",
]


@pytest.fixture(scope="module", autouse=True)
def declared(salt):
    with subscribers(salt, "caller-id", TABLE):
        yield


@pytest.mark.parametrize("caller", SHOWN)
@pytest.mark.parametrize("dialled", [CALLEE, FORWARDED])
def test_the_callee_is_told_what_the_platform_knows(
    caller, dialled, ask, called, password_of, pillar
):
    domain = pillar.site.domain
    with called(CALLEE) as invite:
        found = ask(
            "call", user=caller, password=password_of(caller), to=dialled, body=SDP,
            display=f'"{LIED}" ', headers=[line.format(domain) for line in LIES],
        )  # fmt: skip
        arrived = invite()
    assert found["statuses"][-1] == [486, "Busy Here"]
    (told,) = re.findall(r"(?m)^From: (.*>);tag=.*\r$", arrived)
    assert told == SHOWN[caller].format(domain)
    assert not [word for word in (LIED, "+49800123", "X-Voip-") if word in arrived], arrived


def test_another_ones_name_is_refused(ask, password_of):
    found = ask(
        "call", user=PLAIN, password=password_of(PLAIN), to=CALLEE, from_user=KNOWN, body=SDP
    )
    assert found["statuses"][-1] == [403, "Forbidden"]
