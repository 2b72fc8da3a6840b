"""Devices by IPv6: what the pillar takes, what each host gets, and nothing where it is not."""

import json
import re
import shutil
import socket
import struct
import sys

import pytest
import yaml

from tests import ipv4_only
from voip_stack import paths
from voip_stack.call import agent, plan, useragent
from voip_stack.pillar import PillarError, compile_for, load
from voip_stack.problem import Problem
from voip_stack.providers.lab import guests
from voip_stack.providers.lima import template
from voip_stack.vm.payload import alone

sys.path.append(str(paths.checkout() / "_utils"))
import voip_kamailio
import voip_nft
import voip_ng
import voip_relays
import voip_vault_plan

PILLAR = load(paths.pillar_dir())
SIP, MEDIA, RELAY = (f"fd64:c612:4000::{end}" for end in ("10", "20", "120"))


def voip(host, pillar=PILLAR):
    return compile_for(pillar, host, {"provider": "lab"})


@pytest.fixture
def without(tmp_path):
    return load(ipv4_only.pillar_dir(tmp_path))


# ---------------------------------------------------------------- pillar
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "    interface: eth0\n",
            "    interface: eth0\n    ipv6: fd00::/64\n",
            "networks.internal.ipv6: no IPv6 expected",
        ),
        (f"external_ipv6: {SIP}", "external_ipv6: fd00::10", "an address inside fd64:c612:4000::"),
        ("    ipv6: fd64:c612:4000::/64\n", "", "networks.external.ipv6 first expected"),
        (f"    external_ipv6: {MEDIA}\n", "", "an IPv4 and an IPv6 address of the host expected"),
        (f', external_ipv6: "{RELAY}"', "", "hosts.media-1.relay.external_ipv6: an address exp"),
        (f'external_ipv6: "{RELAY}"', f'external_ipv6: "{SIP}"', "belongs to sip-1 already"),
        (
            "    internal: 192.168.64.30\n",
            "    internal: 192.168.64.30\n    external_ipv6: fd64:c612:4000::30\n",
            "hosts.pbx-1.external_ipv6: an IPv4 and an IPv6",
        ),
    ],
)
def test_refused(tmp_path, old, new, message):
    directory = tmp_path / "pillar"
    shutil.copytree(paths.pillar_dir(), directory)
    file = directory / "topology.yaml"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(PillarError) as raised:
        load(directory)
    assert message in " ".join(map(str, raised.value.problems))


def test_each_host_gets_its_own_addresses_and_those_it_may_take_over():
    sip, media = voip("sip-1"), voip("media-1")
    assert sip["self"]["ipv6"] == {"external": SIP}
    assert sip["self"]["listens"]["external"] == ["198.18.64.10", SIP]
    assert sip["certificates"]["kamailio"]["ip_sans"][-1] == SIP
    assert [SIP, 5071] in sip["certificates"]["kamailio"]["listeners"]
    assert set(media["self"]["listens"]["external"]) >= {MEDIA, RELAY, RELAY[:-2] + "21"}
    assert not any(":" in address for address in media["self"]["listens"]["internal"])
    assert voip_relays.instances(media)[0]["ipv6"] == {"external": RELAY}
    assert "ipv6" not in voip("pbx-1")["self"]


def test_a_pillar_without_says_nothing_of_it(without):
    for host in without.minions():
        text = json.dumps(voip(host, without))
        assert not re.search(r"ipv6|fd64", text), host
        assert "IPV6" not in guests.network_environment(without, host)


def test_the_kernel_tests_machine_has_none():
    assert "ipv6" not in voip("media-1", alone(PILLAR))["relays"][0]


def test_a_guest_of_lima_has_it_beside_ipv4(without):
    plan = yaml.safe_load(template.netplan(PILLAR, "sip-1"))["network"]["ethernets"]
    assert plan["lima1"]["addresses"] == ["198.18.64.10/24", f"{SIP}/64"]
    assert (plan["lima1"]["link-local"], plan["lima1"]["accept-ra"]) == (["ipv6"], False)
    assert plan["lima0"]["link-local"] == []
    plan = yaml.safe_load(template.netplan(without, "sip-1"))["network"]["ethernets"]
    assert set(plan["lima1"]) == {"dhcp4", "addresses", "link-local"}


# ---------------------------------------------------------------- proxy
def test_the_proxy_listens_and_tells_a_loop_by_it_only_where_it_has_one(without):
    text = voip_kamailio.defines(voip("sip-1"))
    assert f"#!define EXTERNAL_IPV6 [{SIP}]" in text.splitlines()
    own = re.search(r'substdef "!V_IPV6_PATTERN!(.*)!g"', text).group(1)
    assert re.search(f"{own}:5071", f" [{SIP}]:5071")
    assert "address-family=IP4" in text
    none = voip_kamailio.defines(voip("sip-1", without))
    assert "IPV6" not in none
    assert "address-family" not in none


def test_what_is_of_ipv6_in_the_routing_is_read_with_an_address_only():
    """Each mention is inside `#!ifdef EXTERNAL_IPV6`, before its `#!else`."""
    for path in (paths.checkout() / "salt/kamailio/files").rglob("*.cfg"):
        inside = False
        for line in path.read_text().splitlines():
            if line.startswith("#!ifdef"):
                inside = "EXTERNAL_IPV6" in line
            elif line.startswith(("#!else", "#!endif")):
                inside = False
            elif re.search(r"IPV6|address-family|MEDIA_FAMILY|\$var\(family\)", line):
                assert inside, (path.name, line)


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("198.18.64.100", "198.18.64.100:4711"),
        ("fd64:c612:4000:0:0:0:0:100", "[fd64:c612:4000::100]:4711"),
        ("[fd64:c612:4000::100]", "[fd64:c612:4000::100]:4711"),
    ],
)
def test_connections_are_told_in_one_form(address, told):
    (row,) = voip_kamailio.tls_connections([{"src_ip": address, "src_port": 4711}])
    assert row["remote"] == told


def test_media_streams_are_told_in_the_same_form():
    stream = {"flags": ["RTP"], "endpoint": {"address": "fd64:c612:4000::100", "port": 20000},
              "local address": RELAY, "local port": 30000}  # fmt: skip
    answer = {"tags": {"t": {"medias": [{"streams": [stream]}]}}}
    (leg,) = voip_ng.legs(answer, {RELAY: "external"})
    assert leg["remote"] == "[fd64:c612:4000::100]:20000"
    assert (leg["local"], leg["interface"]) == (f"[{RELAY}]:30000", "external")


# ---------------------------------------------------------------- firewall and certificates
def test_each_family_has_its_rules_and_neither_is_believed_at_the_other_interface():
    own = voip("sip-1")["self"]
    rules = voip("sip-1")["firewall"]
    external = own["networks"]["external"]
    text = voip_nft.ruleset(
        rules,
        {"eth0": own["listens"]["internal"], "eth1": own["listens"]["external"]},
        {"eth0": own["networks"]["internal"]["cidr"], "eth1": [external["cidr"], external["ipv6"]]},
    )
    assert f'iifname "eth1" ip6 daddr {SIP} tcp dport 5071 accept' in text
    assert 'iifname "eth0" ip6 saddr fd64:c612:4000::/64 counter drop' in text
    # Nothing that is for named sources is open by IPv6.
    restricted = {rule["name"] for rule in rules if rule["sources"]}
    named = set(re.findall(r'ip6 daddr \S+ .* comment "(.+?)"', text))
    assert named
    assert not named & restricted


def test_the_vault_signs_for_the_very_address():
    host = {"names": ["sip-1.voip.test"], "addresses": ["192.168.64.10", SIP], "ttl_s": 60}
    settings = PILLAR.vault.model_dump(mode="json")
    ((_, role),) = voip_vault_plan._pki_role(
        settings, PILLAR.pki.model_dump(mode="json"), "sip-1", host
    ).items()
    assert role["allowed_ip_sans_cidr"] == ["192.168.64.10/32", f"{SIP}/128"]


# ---------------------------------------------------------------- the call's user agents
def _question(name, kind):
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0) + labels + struct.pack("!BHH", 0, kind, 1)


@pytest.mark.parametrize(("kind", "packed"), [(1, b"\xc6\x12\x40\x0a"), (28, None), (33, b"")])
def test_the_proxys_name_has_an_address_of_each_family(kind, packed):
    packed = socket.inet_pton(socket.AF_INET6, SIP) if packed is None else packed
    question = _question("sip.voip.test", kind)
    answer = agent.dns_answer(question, {"sip.voip.test": f"198.18.64.10 {SIP}"})
    assert answer[3] & 0x0F == 0
    assert answer[6:8] == struct.pack("!H", bool(packed))
    assert answer.endswith(packed) if packed else len(answer) == len(question)


def test_connections_of_tcp6_are_read_as_those_of_tcp():
    packed = struct.unpack("=4I", socket.inet_pton(socket.AF_INET6, SIP))
    address = "".join(f"{word:08X}" for word in packed)
    text = f"head\n 0: {address}:C001 {address}:13CF 01 0:0 0:0 0 0 0 77 1\n"
    assert agent.parse_tcp_table(text, {"77"}) == [
        {"local": f"[{SIP}]:49153", "remote": f"[{SIP}]:5071"}
    ]


def test_a_user_agent_listens_at_the_address_that_it_was_given():
    settings = useragent.Settings(
        "1001", "voip.test", "x", "sip.voip.test", 5071, RELAY, 600, "PCMA", (20000, 20198)
    )
    assert settings.is_ipv6
    assert f"sip_listen              [{RELAY}]:0" in settings.config()
    assert useragent.parse_audio_debug("local: [fd64::1]:20002, remote: [fd64::2]:1").port == 20002


def test_a_plan_has_the_family_of_each_number(without):
    both = plan.make_plan(PILLAR, "1001", "1002", by_ipv6=["1002"])
    assert both.proxy_for("1001") == "198.18.64.10:5071"
    assert both.proxy_for("1002") == f"[{SIP}]:5071"
    assert ":" not in both.address_of("1001")
    assert both.address_of("1002") == "fd64:c612:4000::100"
    assert both.names == {"sip.voip.test": f"198.18.64.10 {SIP}"}
    assert plan.make_plan(without, "1001", "1002").names == {"sip.voip.test": "198.18.64.10"}
    with pytest.raises(Problem, match="no call by IPv6"):
        plan.make_plan(without, "1001", "1002", by_ipv6=["1001"])
