"""nftables rules from pillar, and the three beats of the state."""

import importlib.util
import sys
from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

CHECKOUT = Path(__file__).parents[2]
sys.path[:0] = [str(CHECKOUT / name) for name in ("_utils", "_modules", "_states")]

import voip_nft  # noqa: E402

LISTENER = {
    "name": "rtpengine/ng",
    "interface": "eth0",
    "proto": "udp",
    "ports": "22222",
    "sources": ["192.168.64.10"],
}
ADDRESSES = {"eth0": ["192.168.64.20"], "eth1": ["198.18.64.20"]}
NETWORKS = {"eth0": "192.168.64.0/24", "eth1": "198.18.64.0/24"}


def rules(**changed):
    return voip_nft.listener_rules(LISTENER | changed, ["192.168.64.20"])


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        (5071, (5071, 5071)),
        ("5071", (5071, 5071)),
        ("30000-39999", (30000, 39999)),
        ([30000, 39999], (30000, 39999)),
    ],
)
def test_port_range(declared, expected):
    assert voip_nft.port_range(declared) == expected


@pytest.mark.parametrize("declared", [0, 65536, "20-10", "sip", [], [1, 2, 3], None, {}])
def test_port_range_refuses(declared):
    with pytest.raises(SaltInvocationError):
        voip_nft.port_range(declared)


def test_listener_is_limited_to_interface_source_and_own_address():
    assert rules() == [
        'iifname "eth0" ip saddr 192.168.64.10 ip daddr 192.168.64.20 udp dport 22222 accept '
        'comment "rtpengine/ng"'
    ]


def test_listener_for_everybody_still_names_the_own_address():
    [line] = rules(sources=[])
    assert "saddr" not in line
    assert "ip daddr 192.168.64.20" in line


def test_each_family_gets_its_rule():
    both = voip_nft.listener_rules(
        LISTENER | {"sources": ["192.168.64.10", "fd00::10"]}, ["192.168.64.20", "fd00::20"]
    )
    assert [("ip6 saddr" in line, "ip saddr" in line) for line in both] == [
        (False, True),
        (True, False),
    ]


@pytest.mark.parametrize(
    "changed",
    [
        {"proto": "sctp"},
        {"sources": ["not-an-address"]},
        {"sources": ["fd00::10"]},  # the host has no IPv6 address: the rule would open nothing
        {"name": 'x" accept comment "y'},
        {"interface": 'eth0" accept #'},
    ],
)
def test_listener_refuses(changed):
    with pytest.raises(SaltInvocationError):
        rules(**changed)


def test_unknown_interface_is_refused():
    with pytest.raises(SaltInvocationError, match="eth7"):
        voip_nft.ruleset([LISTENER | {"interface": "eth7"}], ADDRESSES, NETWORKS)


def test_ruleset_replaces_its_own_table_only():
    text = voip_nft.ruleset([LISTENER], ADDRESSES, NETWORKS)
    assert "flush ruleset" not in text
    assert text.count("hook input priority filter; policy drop;") == 1
    assert text.count("hook forward priority filter; policy drop;") == 1


def test_order_of_declarations_of_addresses_does_not_matter():
    one = LISTENER | {"sources": ["192.168.64.30", "192.168.64.10", "192.168.64.10"]}
    two = LISTENER | {"sources": ["192.168.64.10", "192.168.64.30"]}
    assert voip_nft.ruleset([one], ADDRESSES, NETWORKS) == voip_nft.ruleset(
        [two], ADDRESSES, NETWORKS
    )


def test_the_smallest_source_that_is_declared_counts():
    declared = {"198.51.100.0/24": 10, "198.51.100.7/32": 5000, "2001:db8::/56": 20}
    limit = {"interface": "eth1", "ports": ["5061", "8443"], "most": 3, "sources": declared}
    text = voip_nft.ruleset([], ADDRESSES, NETWORKS, connections=limit)
    lines = [line.strip() for line in text.splitlines() if "ct count over" in line]
    assert [line.partition(" add ")[0] for line in lines[:3]] == [
        "ip6 saddr 2001:db8::/56", "ip saddr 198.51.100.7", "ip saddr 198.51.100.0/24"
    ]  # fmt: skip
    assert [line.split("over ")[1].split()[0] for line in lines] == ["20", "5000", "10", "3", "3"]
    assert 'iifname "eth1" tcp dport { 5061, 8443 } ct state new jump connections' in text
    assert "ct count" not in voip_nft.ruleset([], ADDRESSES, NETWORKS)


def test_output_is_open_unless_a_policy_is_declared():
    assert "hook output" not in voip_nft.ruleset([], ADDRESSES, NETWORKS)
    closed = voip_nft.ruleset(
        [],
        ADDRESSES,
        NETWORKS,
        egress=[
            {
                "name": "openbao/api",
                "proto": "tcp",
                "ports": 8200,
                "destinations": ["192.168.64.2"],
            },
            {"name": "dns", "proto": "udp", "ports": 53, "destinations": []},
        ],
    )
    assert "hook output priority filter; policy drop;" in closed
    assert "ip daddr 192.168.64.2 tcp dport 8200 accept" in closed
    assert "\t\tudp dport 53 accept" in closed


def test_spoofed_sources_are_dropped_on_every_other_interface():
    lines = voip_nft.spoof_rules(NETWORKS)
    assert any('"eth1" ip saddr 192.168.64.0/24' in line for line in lines)
    assert any('"eth0" ip saddr 198.18.64.0/24' in line for line in lines)


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ("a\nb\n", "a\nb\n", {}),
        ("a\nb\n", "a\nc\n", {"added": ["c"], "removed": ["b"]}),
        ("", "a\n", {"added": ["a"]}),
        ("a\nb\n", "b\na\n", {"added": ["(same rules, another order)"]}),
    ],
)
def test_line_changes(old, new, changes):
    assert voip_nft.line_changes(old, new) == changes


def test_counters_by_chain():
    listing = (
        "\tchain input {\n\t\tcounter packets 2 bytes 8 drop\n\t\tcounter packets 3 bytes 9\n\t}\n"
        "\tchain forward {\n\t\tcounter packets 0 bytes 0\n\t}\n"
    )
    assert voip_nft.counters(listing) == {"input": 5, "forward": 0}


class Host:
    """What the execution module answers, and what the state did to it."""

    def __init__(self, live="wanted", saved="text"):
        self.now = {"live": live, "saved": saved}
        self.calls = []
        self.refuse = None

    def functions(self):
        return {
            "voip_firewall.ruleset": lambda **_: "text",
            "voip_firewall.expected": self._expected,
            "voip_firewall.live": lambda: self.now["live"],
            "voip_firewall.saved": lambda _: self.now["saved"],
            "voip_firewall.swap": self._swap,
            "voip_firewall.write": self._write,
        }

    def _expected(self, _text):
        if self.refuse:
            raise CommandExecutionError(self.refuse)
        return "wanted"

    def _swap(self, _text, must_reach):
        self.calls.append(("swap", must_reach))
        self.now["live"] = "wanted"

    def _write(self, _path, text):
        self.calls.append(("write", text))
        self.now["saved"] = text


@pytest.fixture
def apply(monkeypatch):
    """Return a function (host, test) -> the state's return."""
    path = CHECKOUT / "_states" / "voip_firewall.py"
    spec = importlib.util.spec_from_file_location("state_voip_firewall", path)
    state = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(state)

    def run(host, test=False):
        state.__salt__ = host.functions()
        state.__opts__ = {"test": test}
        masters = {"masters": ["192.168.64.1"], "master_ports": (4505, 4506)}
        return state.managed("/etc/nftables.d/voip.nft", [], {}, {}, **masters)

    return run


def test_state_is_quiet_when_all_is_as_declared(apply):
    host = Host()
    ret = apply(host)
    assert (ret["result"], ret["changes"], host.calls) == (True, {}, [])


@pytest.mark.parametrize(
    ("host", "keys", "calls"),
    [
        (Host(live="", saved=""), {"live", "file"}, ["swap", "write"]),
        (Host(live="by hand"), {"live"}, ["swap"]),
        (Host(saved="by hand"), {"file"}, ["write"]),
    ],
    ids=["fresh", "live drift", "file drift"],
)
def test_state_predicts_what_it_does(apply, host, keys, calls):
    predicted = apply(host, test=True)
    assert predicted["result"] is None
    assert host.calls == []
    done = apply(host)
    assert done["result"] is True
    assert done["changes"] == predicted["changes"]
    assert set(done["changes"]) == keys
    assert [name for name, _ in host.calls] == calls
    assert apply(host)["changes"] == {}


def test_state_checks_the_master_by_its_request_port(apply):
    host = Host(live="")
    apply(host)
    assert host.calls[0] == ("swap", [("192.168.64.1", 4506)])


def test_refused_rules_change_nothing(apply):
    host = Host(live="")
    host.refuse = "rules refused: line 3"
    ret = apply(host)
    assert (ret["result"], ret["changes"], host.calls) == (False, {}, [])
    assert "line 3" in ret["comment"]
