"""Switching between the proxies: rules, who may be moved when, what the command does."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError
from typer.testing import CliRunner

from voip_stack import deployment, paths, switch
from voip_stack.cli import app
from voip_stack.pillar import compile_for, load
from voip_stack.problem import Problem
from voip_stack.up import converge

CHECKOUT = Path(__file__).parents[2]
sys.path[:0] = [str(CHECKOUT / "_utils")]

import voip_nft  # noqa: E402
import voip_proxy  # noqa: E402

NOW = 1_000_000


def loaded(kind, name, **dunders):
    spec = importlib.util.spec_from_file_location(f"{kind}_{name}", CHECKOUT / kind / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    vars(module).update(dunders)
    return module


@pytest.fixture
def voip(edited):
    return compile_for(load(edited), "sip-1", {})


@pytest.fixture
def edited(tmp_path, monkeypatch):
    """A pillar that may be written, and says OpenSIPS: a test of the lab may switch meanwhile."""
    directory = tmp_path / "pillar"
    shutil.copytree(CHECKOUT / "pillar", directory)
    file = directory / switch.POLICIES
    file.write_text(file.read_text().replace("primary_proxy: kamailio", "primary_proxy: opensips"))
    monkeypatch.setattr(paths, "pillar_dir", lambda: directory)
    monkeypatch.setenv("VOIP_STATE_DIR", str(tmp_path))
    return directory


# ----- what the pillar becomes


def test_the_pillar_names_each_proxys_end_of_each_port(voip):
    shared = voip["shared"]
    assert (shared["primary"], shared["others"]) == ("opensips", ["kamailio"])
    tls = [way for way in shared["ways"]["kamailio"] if way["name"] == "sip-tls"]
    assert tls == [
        {"name": "sip-tls", "proto": "tcp", "address": address, "port": 5061, "to_port": 5071}
        for address in ("198.18.64.11", "fd64:c612:4000::11")
    ]


def test_a_proxy_that_could_not_be_had_is_not_the_primary():
    facts = {"packages": {"opensips": {"source": None}}}
    shared = compile_for(load(CHECKOUT / "pillar"), "sip-1", facts)["shared"]
    assert (shared["primary"], list(shared["ways"])) == ("kamailio", ["kamailio"])


def test_other_hosts_have_none():
    assert "shared" not in compile_for(load(CHECKOUT / "pillar"), "media-1", {})


# ----- rules


def test_new_connections_get_the_primarys_port(voip):
    text = voip_nft.entrance("eth1", "kamailio", voip["shared"]["ways"]["kamailio"])
    assert (
        'iifname "eth1" ip daddr 198.18.64.11 tcp dport 5061 dnat ip to 198.18.64.11:5071' in text
    )
    assert (
        "ip6 daddr fd64:c612:4000::11 tcp dport 8443 dnat ip6 to [fd64:c612:4000::11]:8444" in text
    )
    assert voip_nft.entrance_of(text) == "kamailio"
    assert voip_nft.entrance_of("") is None


def test_the_firewall_lets_in_who_asked_for_a_shared_port(voip):
    ways = [way for own in voip["shared"]["ways"].values() for way in own]
    lines = voip_nft.entrance_rules("eth1", ways)
    assert (
        'iifname "eth1" ip daddr 198.18.64.11 tcp dport { 5061, 5071 } ct original proto-dst 5061 '
        'accept comment "shared address"'
    ) in lines
    # Five kinds of listener, by IPv4 and IPv6.
    assert len(lines) == 10


# ----- who is moved


def test_a_number_is_busy_by_its_calls_but_for_those_that_are_refused():
    dialogs = [
        {"state": "confirmed", "from": "sip:1001@voip.test", "to": "sip:1002@192.168.64.10:5061"},
        {"state": "unconfirmed", "from": "sip:1003@voip.test", "to": "sip:1004@voip.test"},
        {"state": "ended", "from": "sip:1005@voip.test", "to": None},
    ]
    assert voip_proxy.busy_numbers(dialogs) == {"1001", "1002", "1003"}


class Proxy:
    """What OpenSIPS would tell. told: entries of `parting`, by the age of each in seconds."""

    def __init__(self, told, busy=()):
        self.told = {end: [number, age] for end, (number, age) in told.items()}
        self.calls, self.killed, self.again = busy, [], []
        self.is_left = False

    def functions(self):
        return {
            "opensips.leave": lambda run: setattr(self, "is_left", True),
            "opensips.stay": lambda: setattr(self, "is_left", False),
            "opensips.registered": lambda: 3,
            "opensips.dialogs": lambda: [
                {"state": "confirmed", "from": f"sip:{number}@voip.test", "to": ""}
                for number in self.calls
            ],
            "opensips.parting": self.parting,
            "opensips.parted": self.parted,
            "voip_firewall.live": lambda table: '\tcomment "kamailio"\n',
        }  # fmt: skip

    def parting(self):
        entries = [(end, f"{who} {NOW - age} r {who}") for end, (who, age) in self.told.items()]
        return voip_proxy.parting(entries, NOW)

    def parted(self, end, asked):
        number, _ = self.told.pop(end)
        if asked:
            self.again.append((number, asked))


def leave(proxy, voip, monkeypatch, who="opensips"):
    module = loaded(
        "_modules", "voip_shared", __salt__=proxy.functions(), __pillar__={"voip": voip}
    )
    monkeypatch.setattr(module, "_end", proxy.killed.append)
    monkeypatch.setattr(module, "_POLL_S", 0)
    return module.leave(who, "r", 0.01)


def test_a_connection_ends_after_its_answer_and_before_the_device_is_back(voip, monkeypatch):
    told = {"198.18.64.100:1": ("1001", 2), "198.18.64.100:2": ("1002", 4)}
    proxy = Proxy(told | {"[fd64::1]:3": ("1003", 3)}, busy=["1003"])
    found = leave(proxy, voip, monkeypatch)
    assert proxy.killed == ["198.18.64.100:1"]
    assert found == {"moved": ["1001"], "registered": 3, "calls": 1}
    assert proxy.again == [("1002", "r 1002"), ("1003", "r 1003")]
    assert not proxy.is_left


def test_nobody_is_sent_away_from_the_primary(voip, monkeypatch):
    with pytest.raises(CommandExecutionError, match="kamailio is the primary"):
        leave(Proxy({}), voip, monkeypatch, "kamailio")


# ----- the state


@pytest.fixture
def entrance(voip):
    """The state, of a host where Kamailio is the primary and the pillar says OpenSIPS."""
    world = {"live": '\tcomment "kamailio"\n', "saved": "", "loaded": [], "problem": None}

    def ready(proxy):
        if world["problem"]:
            raise CommandExecutionError(world["problem"])

    def load_rules(text):
        world["loaded"].append(text)
        world["live"] = text

    functions = {
        "voip_shared.rules": lambda: "\tcomment \"opensips\"\n",
        "voip_shared.primary": lambda: voip_nft.entrance_of(world["live"]),
        "voip_shared.ready": ready,
        "voip_firewall.expected": lambda text, table: text,
        "voip_firewall.live": lambda table: world["live"],
        "voip_firewall.saved": lambda path: world["saved"],
        "voip_firewall.load": load_rules,
        "voip_firewall.write": lambda path, text: world.update(saved=text),
    }  # fmt: skip
    options = {"test": False}
    dunders = {"__salt__": functions, "__pillar__": {"voip": voip}, "__opts__": options}
    return loaded("_states", "voip_shared", **dunders).entrance, world, options


def test_the_state_says_who_stays_where_he_is(entrance):
    state, _, _ = entrance
    found = state("rules")
    assert found["result"] is True
    assert "who is registered at kamailio stays there" in found["comment"]
    assert state("rules")["changes"] == {}


def test_a_proxy_that_cannot_take_over_gets_nobody(entrance):
    state, world, _ = entrance
    world["problem"] = "opensips cannot take over: no PBX answers"
    found = state("rules")
    assert (found["result"], found["changes"], world["loaded"]) == (False, {}, [])
    assert found["comment"] == world["problem"]


def test_a_test_run_changes_nothing(entrance):
    state, world, options = entrance
    options["test"] = True
    found = state("rules")
    assert (found["result"], world["loaded"]) == (None, [])
    assert set(found["changes"]) == {"live", "file"}


# ----- the run, and the command


def test_a_run_goes_on_until_nobody_is_left():
    turns = iter([{"moved": ["1003"], "registered": 1, "calls": 1},
                  {"moved": ["1001"], "registered": 0, "calls": 0}])  # fmt: skip
    there = {"registered": 2, "calls": 1}

    def ask(host, function, *arguments):
        if function == "voip_shared.counts":
            return {
                "primary": "kamailio",
                "proxies": {"kamailio": {"registered": 7, "calls": 3}, "opensips": dict(there)},
            }
        assert arguments[0] == "opensips"
        found = next(turns)
        there.update(registered=found["registered"])
        return found

    found = switch.move(ask, ["sip-1"], 60)
    assert found.pop("took_s") < 1
    assert found == {"to": "kamailio", "moved": ["1001", "1003"], "left": 0, "calls": 0}


def test_a_run_ends_with_who_is_left():
    counts = {"primary": "kamailio", "proxies": {"kamailio": None, "opensips": {"registered": 2}}}
    turn = {"moved": [], "registered": 2, "calls": 2}
    found = switch.move(lambda host, name, *rest: turn if rest else counts, ["sip-1"], 0)
    assert (found["left"], found["calls"]) == (2, 2)


def test_the_command_writes_the_pillar_and_keeps_its_comments(edited, monkeypatch):
    before = (edited / switch.POLICIES).read_text()
    orders = []

    def orchestrate(name, step, pillar):
        orders.append((name, pillar))
        moved = {"to": "kamailio", "moved": ["1001"], "left": 1, "calls": 0, "took_s": 2.0}
        return converge.Run(returned={"Move who is registered elsewhere": moved})

    monkeypatch.setattr(converge, "orchestrate", orchestrate)
    done = CliRunner().invoke(app, ["switch-proxy", "kamailio", "--wait", "90s", "--json"])
    assert done.exit_code == 1, "one is left"
    assert json.loads(done.stdout)["was"] == "opensips"
    assert orders == [("switch_proxy", {"switch": {"wait_s": 90}})]
    after = (edited / switch.POLICIES).read_text()
    assert after == before.replace("primary_proxy: opensips", "primary_proxy: kamailio")
    assert load(edited).routing.primary_proxy == "kamailio"
    assert switch.declare("kamailio") is False


def test_a_proxy_that_does_not_run_is_refused(edited):
    deployment.update(packages={"opensips": {"source": None, "tried": []}})
    with pytest.raises(Problem, match="opensips does not run here"):
        switch.declare("opensips")
    assert switch.primary() == "kamailio"
