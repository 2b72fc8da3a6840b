"""What comes in by a trunk, from the PBX or by a forward never goes outside again.

At each proxy the same. Each test has its counterpart in which the same way leads inside, so that
nothing passes here because it was not there.
"""

import pytest

from tests.lab.declared import subscribers, trunk
from tests.lab.phones import SDP

OUTSIDE = ["+4930123456", "030123456", "004930123456", "+999123456"]
# SENT forwards outside, where its caller may go and where nobody may; INSIDE to who may be called.
MAY, SENT, ASTRAY, INSIDE, PHONE, MOVED = "1061", "1062", "1063", "1064", "1065", "1066"
TABLE = f"""\
number,name,destinations,aliases,forward_always,voicemail
{MAY},May,national,,,{MAY}
{SENT},Sent,none,,+4930123456,
{ASTRAY},Astray,national,,+999123456,
{INSIDE},Inside,none,+4930100064,{PHONE},
{PHONE},Phone,none,,,
{MOVED},Moved,none,,,
"""
PAIR = ["/etc/voip-stack/tls/asterisk.crt", "/etc/voip-stack/tls/asterisk.key"]


@pytest.fixture(scope="module", autouse=True)
def declared(salt):
    with subscribers(salt, "open-relay", TABLE):
        yield


@pytest.fixture(scope="module")
def by_trunk(ask, on, pillar, salt, proxy):
    """by_trunk("*43", ...) -> the last status of a call by a cleartext trunk."""
    external = pillar.networks["external"]
    address = str(external.cidr.broadcast_address - 2)
    own = (f"{address}/{external.cidr.prefixlen}", "dev", external.interface)
    on("client-1", "ip", "address", "replace", *own)

    def call(number, **options):
        found = ask("call", transport="tcp", source=address, to=number, body=SDP, **options)
        return found["statuses"][-1]

    try:
        with trunk(salt, proxy.name, address):
            yield call
    finally:
        on("client-1", "ip", "address", "del", *own)


@pytest.fixture
def by_subscriber(ask, password_of):
    """by_subscriber("*43") -> the last status of a call of who may call outside."""

    def call(number, **options):
        own = {"user": MAY, "password": password_of(MAY), "body": SDP}
        return ask("call", to=number, **own, **options)["statuses"][-1]

    return call


@pytest.fixture
def by_pbx(ask, pillar):
    """by_pbx(uri, ...) -> the status of a request with the PBX's own certificate, from its host."""
    address = str(pillar.hosts["sip-1"].internal)

    def request(uri, method="INVITE", **options):
        options |= {"address": address, "client": PAIR, "uri": uri}
        return ask("request", host="pbx-1", method=method, **options)["status"]

    return request


def test_a_trunk_reaches_who_is_inside(by_trunk, called):
    assert by_trunk("*43", hold_s=0) == [200, "OK"]
    for number in (PHONE, INSIDE, "+4930100064"):
        with called(PHONE) as invite:
            assert by_trunk(number) == [486, "Busy Here"]
            assert "X-Voip-" not in invite()


@pytest.mark.parametrize("number", OUTSIDE)
def test_a_trunk_reaches_nobody_outside(by_trunk, number):
    assert by_trunk(number) == [403, "Relaying Denied"]


def test_a_trunk_hears_nobodys_voicemail(by_trunk, by_subscriber):
    """A trunk's From is whoever it says, and no password was asked for."""
    headers = [f"X-Voip-User: {MAY}"]
    assert by_trunk("*97", user=MAY, headers=headers)[0] == 404
    assert by_subscriber("*97", hold_s=0) == [200, "OK"]


@pytest.mark.parametrize("number", [SENT, ASTRAY])
def test_who_forwards_sends_no_call_outside(by_trunk, by_subscriber, number):
    """Not of a trunk, nor of a caller who may call there himself: for the call he would not pay."""
    assert by_trunk(number)[0] == 404
    assert by_subscriber(number)[0] == 404


@pytest.mark.parametrize("number", OUTSIDE)
def test_the_pbx_reaches_nobody_outside(by_pbx, pillar, number):
    assert by_pbx(f"sip:{number}@{pillar.site.domain}") == [404, "Not Found"]


def test_the_pbx_reaches_devices_of_ours_alone(by_pbx, called, pillar):
    """Whatever domain it names, and whatever Route: only a contact that is registered is rung."""
    client = f"{pillar.hosts['client-1'].external}:5060"
    away = [480, "Temporarily Unavailable"]
    assert by_pbx(f"sip:{PHONE}@{client}") == away
    assert by_pbx(f"sip:{PHONE}@{client}", headers=[f"Route: <sip:{client};lr>"]) == away
    assert by_pbx(f"sip:nobody@{client}") == [404, "Not Found"]
    with called(PHONE) as invite:
        assert by_pbx(f"sip:{PHONE}@{client}") == [486, "Busy Here"]
        assert f"sip:{PHONE}@" in invite().splitlines()[0]


@pytest.mark.parametrize(
    "target", [f"sip:{OUTSIDE[0]}@{{domain}}", f"sip:{OUTSIDE[0]}@{{client}}", "sip:x@{client}"]
)
def test_a_phone_redirects_no_call_outside(called, by_subscriber, pillar, target):
    places = {"domain": pillar.site.domain, "client": pillar.hosts["client-1"].external}
    with called(MOVED, **_moved(target.format(**places))) as asked:
        code, reason = by_subscriber(MOVED)
        assert asked()
    assert 400 <= code < 700, reason


def test_a_phone_redirects_a_call_inside(called, by_subscriber, pillar):
    """A redirection is followed: those before were not just ignored."""
    moved = _moved(f"sip:{PHONE}@{pillar.site.domain}")
    with called(PHONE) as reached, called(MOVED, **moved) as asked:
        code, _ = by_subscriber(MOVED)
        assert asked()
        assert reached()
        # What it says is the first phone's side's, which has no other device.
        assert code in (480, 486)


@pytest.mark.parametrize("number", OUTSIDE)
def test_nobody_transfers_a_call_outside(by_trunk, by_subscriber, pillar, number):
    """Inside a call is transferred: tests/lab/scenarios/transfer.yaml."""
    target = f"sip:{number}@{pillar.site.domain}"
    for call in (by_trunk, by_subscriber):
        assert call("*43", hold_s=0, refer_to=target) == [403, "Destination Not Allowed"]


def _moved(target):
    return {"answer": "302 Moved Temporarily", "headers": [f"Contact: <{target}>"]}
