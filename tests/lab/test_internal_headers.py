"""What only the platform says of a call is taken from whoever says it outside, however it is spelt.

By a request and by an answer: the PBX notes what it gets, as a capture of its own.
"""

from __future__ import annotations

import base64
import re

import pytest

FORGED = "forged.example"
HEADERS = {
    "X-Voip-Call": FORGED,
    "x-voip-call": FORGED,
    "X-VOIP-AT": FORGED,
    "X-Voip-Trunk ": FORGED,
    "X-Voip-At\t": FORGED,
    "X-Voip-Other": f"\r\n {FORGED}",
    "X-Voip-More": f"a\r\n\t{FORGED}",
    "P-Asserted-Identity": f"<sip:1003@{FORGED}>",
    "p-asserted-identity": f"\r\n <sip:1003@{FORGED}>",
    "P-PREFERRED-IDENTITY ": f"<sip:1003@{FORGED}>",
    "Remote-Party-Id": f"<sip:1003@{FORGED}>;party=calling",
    "P-Charging-Vector": f"icid-value={FORGED}",
    "History-Info": f"<sip:1003@{FORGED}>;index=1",
    "DIVERSION": f"<sip:1003@{FORGED}>;reason=unconditional",
}
CAPTURE = "/run/asterisk/voip-test.pcap"


@pytest.fixture
def captured(on):
    """captured(): all SIP of the PBX since the test began, as bytes."""

    def pbx(command):
        on("pbx-1", "asterisk", "-rx", command)

    pbx("module load res_pjsip_logger.so")
    # SRTP keys are in there: to a file in memory, and not to the journal.
    pbx("pjsip set logger verbose off")
    pbx(f"pjsip set logger pcap {CAPTURE}")
    pbx("pjsip set logger on")
    yield lambda: base64.b64decode(on("pbx-1", "base64", CAPTURE))
    pbx("module unload res_pjsip_logger.so")
    on("pbx-1", "rm", "-f", CAPTURE)


def test_forged_ones_reach_nobody(proxy, ladders, captured):
    steps = [
        {"device": "alice", "does": "sends INVITE", "to": "1002", "body": "offer"},
        {"device": "bob", "does": "gets INVITE", "has": {"X-Voip-Call": None}},
        {"device": "bob", "does": "sends 200", "body": "answer"},
        {"device": "alice", "does": "gets 200", "has": {"X-Voip-Call": None}},
        {"device": "alice", "does": "sends ACK"},
        {"device": "bob", "does": "gets ACK"},
        {"device": "alice", "does": "sends UPDATE", "headers": HEADERS},
        {"device": "alice", "does": "gets 200", "of": "UPDATE"},
        {"device": "alice", "does": "sends BYE", "headers": HEADERS},
        {"device": "bob", "does": "gets BYE"},
    ]
    for step in (steps[0], steps[2]):
        step["headers"] = HEADERS
    found = ladders.play({"alice": "1001", "bob": "1002"}, steps, proxy.name)
    assert found["failed"] is None
    text = captured()
    # What the platform itself says of the call is there, once; of what was forged nothing.
    assert f"X-Voip-At: 1002,sip-1/{proxy.name},".encode() in text
    assert re.search(rb"P-Asserted-Identity: [^\r]*<sip:1001@", text)
    assert FORGED.encode() not in text
