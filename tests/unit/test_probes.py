"""Probes against servers that answer as a daemon would; from their answers to the beacon's news."""

import contextlib
import json
import socket
import struct
import sys
import threading
import time
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
sys.path[:0] = [str(CHECKOUT / "_utils")]

import voip_generations  # noqa: E402
import voip_health_watch  # noqa: E402
import voip_probe  # noqa: E402
import voip_probe_sip  # noqa: E402
import voip_probe_sql  # noqa: E402
import voip_scrub  # noqa: E402
import voip_unit  # noqa: E402

READY = b"R\0\0\0\x08\0\0\0\0" + b"Z\0\0\0\x05I"
ROW = b"D\0\0\0\x0b\0\x01\0\0\0\x011" + b"Z\0\0\0\x05I"


def serve(link, answers):
    """Answer each message that arrives with the next of `answers`; a thread."""

    def work():
        connection, _ = link.accept()
        with connection:
            for answer in answers:
                connection.recv(4096)
                connection.sendall(answer)
            with contextlib.suppress(ConnectionResetError):
                connection.recv(4096)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("answers", "what"),
    [
        ([READY, ROW], ""),
        ([b"E\0\0\0\x18SFATAL\0Mstarting up\0\0"], "sql: starting up"),
        ([b"R\0\0\0\x0c\0\0\0\x05abcd" + READY], "sql: asks for a password"),
        ([READY, b"Z\0\0\0\x05I"], "sql: answered something else than one row"),
    ],
)
def test_select_one(tmp_path, answers, what):
    with socket.socket(socket.AF_UNIX) as link:
        link.bind(str(tmp_path / ".s.PGSQL.1"))
        link.listen()
        serve(link, answers)
        probe = {"kind": "sql", "socket_directory": str(tmp_path), "port": 1}
        assert voip_probe.ask_all([probe | {"user": "a", "database": "b"}]) == what


def test_a_daemon_that_hangs_is_told_apart_from_one_that_is_not_there(tmp_path):
    probe = {"kind": "sql", "socket_directory": str(tmp_path), "port": 1, "user": "a"}
    probe["database"] = "b"
    assert voip_probe.ask_all([probe]) == "sql: No such file or directory"
    with socket.socket(socket.AF_UNIX) as link:  # accepts by its backlog, as a stopped process does
        link.bind(str(tmp_path / ".s.PGSQL.1"))
        link.listen()
        assert voip_probe.ask_all([probe], 0.1) == "sql: no answer within 0.1 s"


@pytest.mark.parametrize(
    ("answer", "what"),
    [(b"", ""), (b"+PONG", "door: let in a stranger"), (None, "door: no answer within 0.3 s")],
    ids=["shown the door", "let in", "hangs"],
)
def test_a_link_serves_that_shows_strangers_the_door(answer, what):
    with socket.create_server(("127.0.0.1", 0)) as link:

        def door():
            connection, _ = link.accept()
            with connection:
                connection.sendall(answer)

        if answer is not None:
            threading.Thread(target=door, daemon=True).start()
        probe = {"kind": "door", "address": "127.0.0.1", "port": link.getsockname()[1]}
        assert voip_probe.ask_all([probe], 0.3) == what


def test_a_relay_that_is_elsewhere_is_not_this_hosts_to_judge():
    probe = {"kind": "ng", "address": "198.18.255.254", "port": 9}
    assert voip_probe.ask_all([probe | {"floats": True}]) == ""
    assert voip_probe.ask_all([probe | {"address": "127.0.0.1", "floats": True}]) != ""


def test_ng_ping():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.bind(("127.0.0.1", 0))

        def pong():
            data, who = link.recvfrom(4096)
            link.sendto(data.split(b" ")[0] + b" d6:result4:ponge", who)

        threading.Thread(target=pong, daemon=True).start()
        probe = {"kind": "ng", "address": "127.0.0.1", "port": link.getsockname()[1]}
        assert voip_probe.ask_all([probe]) == ""
    assert voip_probe.ask_all([probe]) == "ng: Connection refused"


@pytest.mark.parametrize(("line", "code"), [(b"SIP/2.0 200 OK", 200), (b"SIP/2.0 404 No", 404)])
def test_sip_status(line, code):
    assert voip_probe_sip.status(line + b"\r\n\r\n") == code


def test_what_is_not_sip_is_no_answer():
    with pytest.raises(ValueError, match="not SIP"):
        voip_probe_sip.status(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def test_sql_error_words():
    body = b"SFATAL\0C57P03\0Mthe database system is starting up\0\0"
    assert voip_probe_sql.error(body) == "the database system is starting up"
    assert struct.calcsize("!ci") == 5


# ------------------------------------------------------------------ from answers to news
def news(answers, bad_in_a_row=2, repeat_s=30):
    """[(second, kind)] for answers given one a second, `x` for a bad one."""
    service, found = voip_health_watch.Service("kamailio"), []
    for second, answer in enumerate(answers):
        service.take("no answer" if answer == "x" else "", second)
        if item := service.news(bad_in_a_row, repeat_s, second):
            found.append((second, item[0]))
    return found


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ("...", [(0, "service/up")]),
        ("..x.", [(0, "service/up")]),
        ("..xx.", [(0, "service/up"), (3, "service/down"), (4, "service/up")]),
        ("xx", [(1, "service/down")]),
        (".x.x.x", [(0, "service/up")]),
        ("." + "x" * 40, [(0, "service/up"), (2, "service/down"), (32, "service/down")]),
    ],
)
def test_bad_twice_in_a_row_is_down(answers, expected):
    assert news(answers) == expected


def test_down_says_why_and_since_when():
    service = voip_health_watch.Service("kamailio")
    assert service.news(1, 30, 5.0) is None, "nothing is known yet"
    service.take("first", 10.0)
    service.take("second", 11.5)
    kind, data = service.news(2, 30, 13.0)
    assert kind == "service/down"
    assert data == {
        "service": "kamailio", "what": "second", "for_s": 3.0, "has_answered": False
    }  # fmt: skip
    service.take("", 14.0)
    service.take("third", 15.0)
    assert service.news(1, 30, 50.0)[1]["has_answered"] is True


def test_the_prober_is_a_process_that_is_read_without_waiting(tmp_path):
    config = {
        "probes": {"postgresql": [
            {"kind": "sql", "socket_directory": str(tmp_path), "port": 1, "user": "a",
             "database": "b"}
        ]},
        "interval_s": 0.1, "timeout_s": 0.1, "bad_in_a_row": 2, "repeat_s": 30,
    }  # fmt: skip
    try:
        deadline, found = time.monotonic() + 20, []
        while not found and time.monotonic() < deadline:
            start = time.monotonic()
            found = voip_health_watch.changes(config, time.time())
            assert time.monotonic() - start < 5
            time.sleep(0.05)
        ((kind, data),) = found
        assert (kind, data["what"]) == ("service/down", "sql: No such file or directory")
        assert json.dumps(data)
    finally:
        voip_health_watch._watches.pop("one").stop()


def test_who_gets_another_certificate_is_excused(tmp_path):
    assert voip_generations.is_locked(tmp_path, "kamailio") is False
    with voip_generations.locked(tmp_path, "kamailio"):
        assert voip_generations.is_locked(tmp_path, "kamailio") is True
        assert voip_generations.is_locked(tmp_path, "asterisk") is False
    assert voip_generations.is_locked(tmp_path, "kamailio") is False


# ------------------------------------------------------------------ evidence
@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("login failed password=hunter2 for x", "login failed password=(hidden) for x"),
        ('{"secret_id": "abc-def"}', '{"secret_id": "(hidden)"}'),
        ("postgres://kamailio:hunter2@db/kamailio", "postgres://kamailio:(hidden)@db/kamailio"),
        ("a=crypto:1 X inline:" + "A" * 40, "a=crypto:1 X inline:(hidden)"),
        ("token hvs.CAESIJlU1Fvvvvvvvvvvvvvvvvvv used", "token (hidden) used"),
        ("Authorization: Digest username=x, response=1", "Authorization: Digest (hidden)"),
        ("-----BEGIN EC PRIVATE KEY-----\nMHc\n-----END EC PRIVATE KEY-----\nx", "(hidden)\nx"),
        ("kamailio[12]: INFO: tls: 5 domains", "kamailio[12]: INFO: tls: 5 domains"),
    ],
)
def test_what_could_be_a_secret_is_hidden(text, left):
    assert voip_scrub.scrub(text) == left


def test_unit_state():
    text = "LoadState=loaded\nActiveState=active\nSubState=running\nResult=success\nNRestarts=3\n"
    text += "ControlGroup=/system.slice/x.service\nStateChangeTimestampMonotonic=90000000\n"
    assert voip_unit.state(text, 100.0) == {
        "load": "loaded", "active": "active", "sub": "running", "result": "success",
        "restarts": 3, "for_s": 10.0, "group": "/system.slice/x.service",
    }  # fmt: skip
    assert voip_unit.processes("/no/such/group") == {}


def test_a_probe_without_its_certificate_gives_no_verdict(tmp_path):
    """A certificate that is being replaced must not look like a proxy that is down."""
    probe = {"kind": "sip", "address": "127.0.0.1", "port": 1, "name": "x", "domain": "x"}
    gone = probe | {"ca_file": str(tmp_path / "ca.crt")}
    assert voip_probe.ask_all([gone]) == ""
    with pytest.raises(voip_probe.CannotAsk, match="No such file"):
        voip_probe.ask(**gone)
