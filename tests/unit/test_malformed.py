"""The attacks' messages and their verdict; the attacks themselves are a lab test."""

import json
import random
from dataclasses import asdict

import pytest

from tests.strangers import self_signed
from voip_stack import paths
from voip_stack.malformed import WHOLE, attacker, memory, torture
from voip_stack.malformed.mutation import framed, mutated, valid
from voip_stack.malformed.report import ONCE_KIB, Report, table
from voip_stack.malformed.run import SOURCES
from voip_stack.malformed.wire import frame
from voip_stack.outside import sources
from voip_stack.pillar import load
from voip_stack.problem import Problem
from voip_stack.soak.calls import ALWAYS_UP, FailedCall
from voip_stack.soak.report import Calls

FIELDS = {"transport": "TLS", "host": "198.51.100.7:4000", "domain": "voip.test", "call_id": "c-"}


# -------------------------------------------------------------------- RFC 4475


def test_every_message_of_the_rfc_is_there_once():
    found = torture.messages()
    assert len({item.name for item in found}) == len(found) == 49
    kinds = [item.kind for item in found]
    assert [kinds.count(kind) for kind in ("valid", "invalid", "odd")] == [13, 19, 17]


def test_messages_are_as_they_go_over_the_wire():
    found = {item.name: item.data for item in torture.messages()}
    for name, data in found.items():
        head, mark, _ = data.partition(b"\r\n\r\n")
        assert mark, name
        assert b"\n" not in head.replace(b"\r\n", b""), name
        assert not [word for word in (b"<hex>", b"<repeat", b"<fold>", b"{}") if word in data], name
    assert b'To: "BEL:\x07 NUL:\x00 DEL:\x7f"' in found["intmeth"]
    assert found["noreason"].startswith(b"SIP/2.0 100 \r\n")
    assert b"Content-Length: 9999\r\n" in found["clerr"]
    assert found["scalar02"].count(b"0" * 100) == 1
    assert b"Content-Length: 150" in found["dblreq"]


def test_a_length_that_is_left_open_is_that_of_the_body():
    text = "=== x odd 1.2: y\nINVITE sip:a SIP/2.0\nl: {}\n\nab\nc\n"
    (found,) = torture.messages(text)
    assert found.data == b"INVITE sip:a SIP/2.0\r\nl: 5\r\n\r\nab\r\nc"
    with pytest.raises(ValueError, match="KIND"):
        torture.messages("=== x strange 1.2: y\n")


# -------------------------------------------------------------------- mutations


def test_the_same_seed_makes_the_same_messages():
    def some(seed):
        chance = random.Random(seed)
        return [mutated(chance, valid(chance, FIELDS)) for _ in range(200)]

    assert some(1) == some(1)
    assert some(1) != some(2)


def test_mutations_differ_from_what_they_are_made_of():
    chance = random.Random(7)
    same = 0
    for _ in range(500):
        text = valid(chance, FIELDS)
        found = mutated(chance, text)
        assert 0 < len(found) <= 60_000
        same += found == text
    assert same < 25


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"A\r\nContent-Length: -5\r\n\r\nbody", b"A\r\nContent-Length: 4\r\n\r\nbody"),
        (b"A\r\nl:99\r\n\r\n", b"A\r\nContent-Length: 0\r\n\r\n"),
        (b"A\r\nB: c", b"A\r\nB: c\r\nContent-Length: 0\r\n\r\n"),
    ],
)
def test_a_framed_message_says_its_length(text, expected):
    assert framed(text) == expected


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
def test_a_frame_unmasks_to_its_data(size):
    data = random.Random(size).randbytes(size)
    found = frame(data)
    head = {True: 2, False: 4 if size < 65536 else 10}[size < 126]
    mask, masked = found[head : head + 4], found[head + 4 :]
    assert found[0] == 0x81
    assert bytes(byte ^ mask[at % 4] for at, byte in enumerate(masked)) == data


@pytest.mark.parametrize(("logins", "count"), [(10, 1), (500, 8), (10_000, 150)])
def test_as_many_guess_as_will_be_shut_out(logins, count):
    assert len(attacker.guessers([str(n) for n in range(150)], logins)) == count


def test_every_oversized_message_is(pillar):
    sizes = {name: len(data) for name, data in attacker.oversized(pillar.site.domain)}
    assert min(sizes, key=sizes.get) == "a body of 2 GB announced"
    assert sorted(sizes.values())[1] > 12_000


# -------------------------------------------------------------------- where they come from


@pytest.fixture(scope="module")
def pillar():
    return load(paths.pillar_dir())


def test_sources_are_addresses_that_nobody_has(pillar):
    found = sources(pillar, SOURCES)
    assert len(set(found)) == SOURCES
    taken = {str(host.external) for host in pillar.hosts.values()}
    assert not taken & set(found)
    with pytest.raises(Problem, match="free addresses"):
        sources(pillar, 5000)


# -------------------------------------------------------------------- the verdict


FAILED = FailedCall(1.0, "1001", "1002", False, "audio: 1002 does not hear")


def calls(**changes):
    return Calls(**{"lowest": ALWAYS_UP, "made": 9, "looks": 90, "registrations": 40} | changes)


def report(**changes):
    way = {"sent": 500, "read": 300, "closed": 170, "swallowed": 30, "refused": 0}
    way |= {"connections": 200, "replies": {"400": 9}}
    found = Report("kamailio", 1000, 100, SOURCES)
    found.attacks = {
        "torture": {"wsinv": {"tls": "403", "wss": "403"}},
        "oversized": {"a body of 1 MB": {"tls": "closed", "wss": "513"}},
        "mutations": {"tls": way, "wss": dict(way), "seconds": 1.0},
        "slow": {"half a handshake": {"clients": 5, "disconnected": 5, "longest_s": 14.2}},
        "logins": {"tried": 100, "refused": 60, "dropped": 40, "accepted": 0, "other": 0},
    }
    found.parsed = {"rcv_requests": 900, "rcv_replies": 90}
    found.calls = calls()
    found.banned = 2
    found.before = memory.Memory((10, 11), 1000, 2000)
    found.after = memory.Memory((10, 11), 1049, 2100)
    for path, value in changes.items():
        *names, last = path.split(".")
        holder = found
        for name in names:
            holder = holder[name] if isinstance(holder, dict) else getattr(holder, name)
        if isinstance(holder, dict):
            holder[last] = value
        else:
            setattr(holder, last, value)
    return found


def test_a_short_run_lets_a_process_have_its_first_pages():
    found = report(after=memory.Memory((10, 11), 1050 + 2 * ONCE_KIB, 2100))
    grown = "the proxy's memory has grown by more than 5 %"
    assert grown not in found.broken
    found.messages = WHOLE
    assert grown in found.broken


def test_all_promises_kept():
    found = report()
    assert found.broken == []
    assert json.loads(json.dumps(found.as_dict()))["ok"] is True
    text = table(found)
    assert "calls: 0 failed; 10 up at the fewest, 9 ended and replaced, 90 looks" in text
    assert "resident_kib: 1000 before, 1049 after (+4.9 %)" in text
    assert "slow, half a handshake: 5 of 5 disconnected, the last after 14.2 s" in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"after": memory.Memory((10, 12), 1000, 2000)}, "processes"),
        ({"after": memory.Memory((10, 11), 1051 + 2 * ONCE_KIB, 2000)}, "5 %"),
        ({"after": memory.Memory((10, 11), 1000, 2101)}, "5 %"),
        ({"after": None}, "not measured"),
        ({"calls": calls(failures=[FAILED])}, "1 calls failed"),
        ({"calls": calls(lowest=9)}, "only 9 calls were up"),
        ({"calls": calls(made=0)}, "no call was made"),
        ({"calls": calls(looks=0)}, "none was listened to"),
        ({"restarted": ["pbx-1 asterisk"]}, "restarted"),
        ({"attacks.torture.wsinv.tls": "200"}, "wsinv over tls: 200"),
        ({"attacks.mutations.tls.sent": 499}, "999 of 1000"),
        ({"attacks.mutations.wss.closed": 100}, "the proxy has read 870 of 1000"),
        ({"attacks.mutations.wss.refused": 1}, "1 connections were refused"),
        ({"attacks.logins.accepted": 1}, "accepted"),
        ({"attacks.logins.refused": 0}, "no bad login"),
        ({"attacks.logins.other": 1}, "1 bad logins were neither"),
        ({"attacks.logins.tried": 99}, "99 of 100"),
        ({"banned": 0}, "nobody is shut out"),
    ],
)
def test_a_promise_that_was_not_kept_is_said(changes, words):
    (broken,) = report(**changes).broken
    assert words in broken


def test_a_failed_call_is_told_with_its_reason():
    assert "1001 → 1002: audio: 1002 does not hear" in table(report(calls=calls(failures=[FAILED])))


def test_slow_clients_that_stay_are_told():
    found = report()
    found.attacks["slow"]["half a handshake"]["disconnected"] = 4
    assert found.broken == ["half a handshake: 4 of 5 clients were disconnected"]
    found.proxy = "opensips"
    assert found.broken == []
    found.attacks["slow"]["a byte a second"] = {"clients": 5, "disconnected": 4, "longest_s": 2.0}
    assert found.broken == ["a byte a second: 4 of 5 clients were disconnected"]


def test_an_order_is_read_as_it_was_written():
    order = {
        "target": {"address": "198.51.100.1", "ports": {"tls": 1}, "server_name": "n",
                   "domain": "d", "ca": self_signed("nobody")[0].decode()},
        "sources": ["198.51.100.2"], "seed": 1, "messages": 2, "logins": 3,
        "login_every_s": 0.5, "slow": 4,
        "slow_wait": False, "torture": [["a", "AAE="]],
    }  # fmt: skip
    found = attacker.read(json.dumps(order))
    assert found.torture == [("a", b"\x00\x01")]
    assert asdict(found.target) == order["target"]
