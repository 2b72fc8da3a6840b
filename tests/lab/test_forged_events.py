"""A compromised VM speaks of others: nothing happens but security events.

Root on pbx-1 has that minion's key and its channel to the master, and forges every kind of event of
the table in every way that Salt has for a minion to put something on the master's bus.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import TypeAdapter, ValidationError

from tests.lab.salt_bus import Heard
from voip_stack.events import record, security
from voip_stack.events.handlers import TABLE
from voip_stack.repair import hosts, incidents

FORGER = Path(__file__).with_name("forger.py")
PYTHON = "/opt/voip-minion/bin/python"
INTRUDER, VICTIMS = "pbx-1", ("sip-1", "media-1", "devstack")
WAYS = ("send", "fire", "single", "listed")
APPROLE = "/etc/voip-stack/vault/approle.json"
CANARY = "/run/voip-stack-canary"
HOSTILE = (
    "{{ salt['cmd.run']('touch " + CANARY + "') }}",
    f"$(touch {CANARY})",
    f"`touch {CANARY}`; touch {CANARY} | sh",
    f"kamailio\ntouch {CANARY}",
    "../../orchestrate/up",
    "state.highstate",
    "*",
    "x" * 400,
)
# What a field may hold, the first that its model takes.
BAN = {"source": "198.51.100.7", "reason": "auth", "left_s": 1}
GOOD = ("6.1.0-99-cloud-amd64", "ends", 1.0, 1, True, [], {}, [BAN])


def good_data(kind, service="kamailio"):
    """Data that the model of `kind` takes: were the event believed, its handler would act."""
    model, _ = TABLE[kind].load()
    data = {
        name: next(value for value in (service, *GOOD) if _fits(field, value))
        for name, field in model.model_fields.items()
    }
    model.model_validate(data)
    return data


def _fits(field, value):
    try:
        TypeAdapter(field.rebuild_annotation()).validate_json(json.dumps(value), strict=True)
    except ValidationError:
        return False
    return True


def tags(kind, host, number):
    """As an event of `host` is tagged, by a module or a beacon; the number finds it again."""
    return (f"voip/event/{kind}/{number}", f"salt/beacon/{host}/voip_health/{kind}/{number}")


@pytest.fixture
def forge(provider):
    """forge([order, ...], host="pbx-1"): what the forger there was answered."""

    def run(orders, host=INTRUDER):
        provider.put(host, "/run/forger.py", FORGER.read_bytes())
        told = provider.run(
            host, [PYTHON, "/run/forger.py"], stdin=json.dumps(orders).encode(), timeout=300
        )
        return json.loads(told.stdout)

    return run


@pytest.fixture
def untouched(pillar, compiled, on):
    """with untouched(): ...: no job, no runner but the one door, no restart, no new identity."""
    units = {
        host: [hosts.unit(host, service) for service in compiled(host)["probes"]]
        for host in pillar.minions()
    }

    def state():
        asked = "MainPID,NRestarts,ActiveEnterTimestampMonotonic"
        found = {}
        for host, names in units.items():
            shown = on(host, "systemctl", "show", "-p", asked, *names) if names else ""
            accessor = json.loads(on(host, "cat", APPROLE))["accessor"]
            canary = on(host, "sh", "-c", f"test -e {CANARY} && echo there || true")
            found[host] = (shown, accessor, canary)
        return found

    @contextlib.contextmanager
    def watch():
        before, began = state(), time.time()
        with Heard() as heard:
            yield SimpleNamespace(began=began, heard=heard)
            time.sleep(3)  # what one of them had set off would have begun
        assert heard.jobs == []
        assert set(heard.runners) <= {"voip_events.receive"}
        assert state() == before
        assert not any(canary for _, _, canary in before.values())
        assert not Path(CANARY).exists()
        assert incidents.read(began) == []
        assert list(record.read("alerts", began)) == []

    return watch


def recorded(began, kind=None):
    return [entry for entry in record.read("security", began) if kind in (None, entry["kind"])]


def by_tag(began, tag):
    """The security events that name this tag."""
    return [entry for entry in recorded(began) if f"{tag!r})" in entry["detail"]]


def test_the_watch_sees_what_a_genuine_event_does(forge, eventually):
    """The control: the same program, with a host's own key about its own service."""
    says = {"host": "sip-1", "kind": "service/down", "data": {"service": "kamailio", "what": "x"}}
    with Heard() as heard:
        forge([{"way": "listed", "tag": "voip/event/service/down", "says": says}], "sip-1")
        eventually(lambda: ("voip_repair.look", ["sip-1"]) in heard.jobs, 30)
    assert "state.orchestrate" in heard.runners
    assert "voip_repair.run" in heard.runners


FORGERIES = {
    # name: (how it is made, about another host?, the security event)
    "signed by the own key": ({}, True, "event/forged"),
    "its own, another's name put to it": ({"renamed": True}, True, "event/forged"),
    "unsigned": ({"signs": False}, True, "event/unsigned"),
    "an hour old": ({"age_s": 3600}, False, "event/stale"),
}


def forgeries():
    """(order, the security event that it must be, whom it claims) for every kind and way."""
    victims = itertools.cycle(VICTIMS)
    for number, (kind, way, forgery) in enumerate(itertools.product(TABLE, WAYS, FORGERIES)):
        making, is_about_another, security_kind = FORGERIES[forgery]
        victim = next(victims)
        says = {"host": victim if is_about_another else INTRUDER, "kind": kind}
        claimed = says["host"]
        if making.get("renamed"):
            says["host"], making = INTRUDER, {"then": {"host": victim, "id": victim}}
        if security_kind == "event/unsigned" and way != "listed":
            claimed = INTRUDER  # whom the channel knows
        tag = tags(kind, victim, number)[number % 2]
        says["data"] = good_data(kind)
        yield {"way": way, "tag": tag, "says": says, **making}, security_kind, claimed


def test_every_kind_forged_in_every_way(forge, untouched, eventually):
    made = list(forgeries())
    most = max(Counter((kind, claimed) for _, kind, claimed in made).values())
    assert most <= security.MOST_PER_MINUTE, "more than are recorded one by one: send in two parts"
    with untouched() as seen:
        forge([order for order, _, _ in made])
        for order, security_kind, claimed in made:
            eventually(lambda tag=order["tag"]: by_tag(seen.began, tag), 60, 0.2)
            (event,) = by_tag(seen.began, order["tag"])
            assert (event["kind"], event["host"]) == (security_kind, claimed), order
    print(f"{len(made)} forged events of {len(TABLE)} kinds, as many security events")


def test_a_captured_event_counts_once(forge, eventually):
    """Genuine events of media-1 that the intruder has too, and sends again in every way."""
    began, host = time.time(), "media-1"
    genuine = [
        {
            "way": "listed",
            "tag": f"voip/event/{kind}",
            "says": {"host": host, "kind": kind, "data": good_data(kind, "rtpengine")},
        }
        for kind in TABLE
    ]
    with Heard() as heard:
        captured = forge(genuine, host)
        again = [
            {"way": way, "tag": f"voip/event/{envelope['kind']}", "sealed": envelope}
            for envelope in captured
            for way in WAYS
        ]
        forge(again)
        eventually(lambda: len(recorded(began, "event/replayed")) == len(again), 60, 0.2)
        received = len(genuine) + len(again)
        eventually(lambda: heard.runners.count("voip_events.receive") == received, 30)
        time.sleep(3)
    assert {(entry["kind"], entry["host"]) for entry in recorded(began)} == {
        ("event/replayed", host),
        ("event/not-its-own", host),  # the genuine certificate/expiring: it holds none
    }
    assert heard.runners.count("voip_repair.run") == 1  # of the genuine service/down


def test_hostile_data_is_data(forge, untouched, eventually):
    """Signed, fresh, about itself; in each field what could be a command, or much of it."""
    orders, refused = [], 0
    for kind in TABLE:
        model, _ = TABLE[kind].load()
        for name, value in hostile(model):
            data = good_data(kind) | {name: value}
            with contextlib.suppress(ValidationError):
                model.model_validate(data)
                continue  # free text: the next test's
            refused += 1
            says = {"host": INTRUDER, "kind": kind, "data": data}
            orders.append(
                {"way": WAYS[refused % len(WAYS)], "tag": f"voip/event/{kind}", "says": says}
            )
    with untouched() as seen:
        forge(orders)
        eventually(lambda: seen.heard.runners.count("voip_events.receive") == refused, 60, 0.2)
        wanted = min(refused, security.MOST_PER_MINUTE)
        eventually(lambda: len(recorded(seen.began, "event/malformed")) == wanted, 60, 0.2)
    print(f"{refused} events with hostile data; {wanted} security events, the most in a minute")


def hostile(model):
    """(field, value) pairs for a model: each field and one that it has not."""
    nested = []
    for _ in range(200):
        nested = [nested]
    yield from ((name, HOSTILE[0]) for name in [*model.model_fields, "tgt", "sls"])
    if first := next(iter(model.model_fields), None):
        yield from ((first, text) for text in HOSTILE[1:])
        yield from ((first, value) for value in (nested, {"sls": HOSTILE[0]}, "y" * 20000))


def test_free_text_stays_text(forge, on, eventually, pillar):
    """What a model lets pass as text (why a probe failed) is neither rendered nor run."""
    began, texts = time.time(), [text for text in HOSTILE if len(text) < 300]
    says = {"host": INTRUDER, "kind": "service/down"}
    with Heard() as heard:
        forge(
            [
                {
                    "way": "listed",
                    "tag": "voip/event/service/down",
                    "says": says | {"data": {"service": "asterisk", "what": text}},
                }
                for text in texts
            ]
        )
        eventually(lambda: heard.runners.count("voip_repair.run") == len(texts), 60)
        time.sleep(3)
    assert {function for function, _ in heard.jobs} <= {"voip_repair.look", "voip_repair.probe"}
    assert not Path(CANARY).exists()
    for host in pillar.minions():
        on(host, "test", "!", "-e", CANARY)
    assert [i for i in incidents.read(began) if i["outcome"] == "repaired"] == []


def test_unknown_kinds_and_other_hosts_services_are_refused(forge, untouched, eventually):
    """By a host that has proved itself: it has no say there."""
    kinds = [
        "state.apply",
        "../../identity/expiring",
        "service/restart",
        "runner/state.orchestrate",
    ]
    own = {"host": INTRUDER}
    orders = [
        {"way": way, "tag": f"voip/event/{kind}", "says": own | {"kind": kind, "data": {"a": 1}}}
        for kind, way in zip(kinds, WAYS, strict=False)
    ]
    about = [
        {
            "way": way,
            "tag": f"voip/event/{kind}",
            "says": own | {"kind": kind, "data": {"service": service, **more}},
        }
        for way in WAYS
        for service in ("kamailio", "openbao")
        for kind, more in (("service/down", {"what": "x"}), ("service/up", {}))
    ]
    with untouched() as seen:
        forge(orders + about)
        eventually(lambda: len(recorded(seen.began, "event/unknown-kind")) == len(orders), 30)
        eventually(lambda: len(recorded(seen.began, "event/not-its-own")) == len(about), 30)
    assert {entry["host"] for entry in recorded(seen.began)} == {INTRUDER}


def test_a_minion_runs_nothing_on_the_master_or_elsewhere(forge, untouched):
    """Salt's own ways for minions: publish, runners, another's id. None is open."""
    touch = ["cmd.run", [f"touch {CANARY}"]]
    job = {"fun": touch[0], "arg": touch[1], "tgt": "*", "tgt_type": "glob", "ret": ""}
    run = {"fun": "state.orchestrate", "arg": ["orchestrate.up"], "tgt": "", "ret": ""}
    event = {"cmd": "_minion_event", "tag": "voip/event/service/down", "data": {}}
    result = {"cmd": "_return", "jid": event["tag"], "fun": "test.ping", "return": True}
    orders = [
        {"way": "call", "function": "publish.publish", "arguments": ["*", *touch]},
        {"way": "call", "function": "publish.full_data", "arguments": ["sip-1", *touch]},
        {"way": "call", "function": "publish.runner", "arguments": ["state.orchestrate"]},
        *({"way": "load", "load": job | {"cmd": cmd}} for cmd in ("minion_pub", "minion_publish")),
        *(
            {"way": "load", "load": job | {"cmd": cmd}}
            for cmd in ("publish", "_publish", "_send_pub")
        ),
        *(
            {"way": "load", "load": run | {"cmd": cmd}}
            for cmd in ("minion_runner", "runner", "wheel")
        ),
        # A job's return whose job id is a tag of ours.
        {"way": "load", "load": result},
        # Another's id in the request itself: Salt puts the sender's in its place.
        {"way": "load", "load": event | {"id": "sip-1"}},
    ]
    with untouched() as seen:
        answers = forge(orders)
    assert not any(answers), answers
    told = [(entry["kind"], entry["host"]) for entry in recorded(seen.began)]
    assert told == [("event/unsigned", INTRUDER)]
