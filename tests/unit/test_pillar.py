"""The pillar's schema: what is refused, with which file, line and words; what each host gets."""

import shutil
from pathlib import Path

import pytest
import yaml

from voip_stack.pillar import PillarError, compile_for, load
from voip_stack.pillar.compile import peers
from voip_stack.pillar.components import Pgbouncer

CHECKOUT = Path(__file__).parents[2]
REFUSED = yaml.safe_load((Path(__file__).parent / "pillar_refused.yaml").read_text())


@pytest.fixture
def directory(tmp_path):
    return Path(shutil.copytree(CHECKOUT / "pillar", tmp_path / "pillar"))


@pytest.fixture(scope="module")
def pillar():
    return load(CHECKOUT / "pillar")


def test_the_committed_pillar_is_accepted(pillar):
    assert pillar.minions() == ["sip-1", "media-1", "media-2", "pbx-1", "devstack"]


@pytest.mark.parametrize("case", REFUSED, ids=[case["name"] for case in REFUSED])
def test_refused(directory, case):
    path = directory / case["file"]
    text = path.read_text() if path.exists() else ""
    if "replace" in case:
        assert case["replace"] in text, f"the case is out of date: {path} has no such text"
        text = text.replace(case["replace"], case["by"], 1)
    else:
        text += case["append"]
    path.write_text(text)
    with pytest.raises(PillarError) as raised:
        load(directory)
    messages = [str(problem) for problem in raised.value.problems]
    assert any(case["message"] in message for message in messages), messages
    assert all(problem.file for problem in raised.value.problems), messages


def test_every_problem_is_reported_at_once(directory):
    topology = directory / "topology.yaml"
    topology.write_text(topology.read_text().replace("vcpus: 2", "vcpus: two"))
    policies = directory / "policies.yaml"
    policies.write_text(policies.read_text().replace("max_forwards: 70", "max_forwards: 0"))
    with pytest.raises(PillarError) as raised:
        load(directory)
    assert {problem.file for problem in raised.value.problems} == {
        "topology.yaml",
        "policies.yaml",
    }


def test_line_of_a_bad_value(directory):
    path = directory / "topology.yaml"
    lines = path.read_text().splitlines()
    number = next(i for i, line in enumerate(lines, 1) if "memory_mib: 2048" in line)
    lines[number - 1] = "    memory_mib: plenty"
    path.write_text("\n".join(lines))
    with pytest.raises(PillarError) as raised:
        load(directory)
    (problem,) = raised.value.problems
    assert (problem.line, problem.key) == (number, "hosts.sip-1.memory_mib")
    assert "'plenty'" in str(problem)


def test_subscribers_of_several_files_are_joined(directory):
    (directory / "subscribers" / "second.yaml").write_text(
        'subscribers: [{number: "2001", name: Second}, {number: "1001", name: Twice}]\n'
    )
    with pytest.raises(PillarError, match="1001 is given twice") as raised:
        load(directory)
    assert raised.value.problems[0].file == "subscribers/second.yaml"


def test_firewall_of_the_pbx_admits_only_internal_peers(pillar):
    rules = compile_for(pillar, "pbx-1", {})["firewall"]
    assert {rule["interface"] for rule in rules} == {"eth0"}
    assert all(rule["sources"] for rule in rules), "a PBX port is open to anybody"


def test_a_source_outside_has_so_many_connections_to_all_proxies(pillar):
    limit = compile_for(pillar, "sip-1", {})["connections"]
    assert limit["interface"] == "eth1"
    assert limit["most"] == pillar.toll.connections_per_source
    services = pillar.services
    assert {str(services["kamailio"][name].port) for name in ("sip-tls", "wss")} <= {
        *limit["ports"]
    }
    assert compile_for(pillar, "pbx-1", {})["connections"] is None
    assert compile_for(pillar, "media-1", {})["connections"] is None


def test_ng_control_port_is_for_the_sip_and_media_tier_only(pillar):
    rules = compile_for(pillar, "media-1", {})["firewall"]
    (ng,) = [rule for rule in rules if rule["name"] == "rtpengine/ng"]
    sip, *media = ng["sources"]
    assert sip == "192.168.64.10"
    assert set(media) == set(peers(pillar)["media"])
    assert ng["interface"] == "eth0"


def test_a_host_gets_only_what_its_roles_use(pillar):
    media = compile_for(pillar, "media-1", {})
    assert "subscribers" not in media
    assert "kamailio" not in media
    assert set(media["certificates"]) <= {"rtpengine"}
    devstack = compile_for(pillar, "devstack", {})
    assert "routing" not in devstack


def test_certificate_names_of_the_proxy(pillar):
    wanted = compile_for(pillar, "sip-1", {})["certificates"]["kamailio"]
    assert wanted["alt_names"] == ["sip-1.voip.test", "sip.voip.test", "voip.test"]
    assert wanted["ip_sans"] == ["192.168.64.10", "198.18.64.10", "fd64:c612:4000::10"]


def test_ssh_is_let_in_only_where_the_provider_manages_by_it(pillar):
    names = {rule["name"] for rule in compile_for(pillar, "sip-1", {"provider": "lab"})["firewall"]}
    assert not any(name.startswith("management/") for name in names)
    rules = compile_for(pillar, "sip-1", {"provider": "hosts"})["firewall"]
    (ssh,) = [rule for rule in rules if rule["name"] == "management/ssh"]
    assert ssh["sources"] == ["192.168.64.1"]


def test_the_root_ca_comes_from_the_facts(pillar):
    assert "ca_pem" not in compile_for(pillar, "sip-1", {})["pki"]
    assert compile_for(pillar, "sip-1", {"ca_pem": "PEM"})["pki"]["ca_pem"] == "PEM"


def test_the_proxy_finds_the_pooler_at_its_port(pillar):
    moved = pillar.model_copy(update={"pgbouncer": Pgbouncer(port=6500)})
    assert compile_for(moved, "sip-1", {})["kamailio"]["database"]["port"] == 6500
