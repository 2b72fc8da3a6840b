"""Each host's firewall lets in what pillar declares, from everywhere, over the full port range.

How it is known: from each place a TCP SYN and a UDP datagram go to all 65535 ports of each host, as
raw frames (port_sender.py). A table behind the firewall notes what came through (port_watch.py).
That is exact for UDP and for ports without a listener, where a scan by answers can only guess.
What is let in and what listens are compared with the pillar; TCP listeners are connected to.
"""

from __future__ import annotations

import itertools
import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab import port_watch
from voip_stack.pillar.components import PROXIES
from voip_stack.problem import Problem

SENDER = (Path(__file__).parent / "port_sender.py").read_text()
FRAMES = 2 * 65535
# Sockets that are nobody's listener: the DHCP client's, the kernel's.
CLIENT_UDP_FROM = 32768
ATTEMPTS = 3
HOSTS_AT_ONCE = 2


@dataclass(frozen=True)
class Place:
    """From where packets are sent. host: a guest, or None for a gateway in the lab's namespace."""

    name: str
    host: str | None
    network: str
    interface: str
    address: str


def _places(pillar):
    found = []
    for network, definition in pillar.networks.items():
        bridge = {"internal": "br-int", "external": "br-ext"}[network]
        found.append(Place(f"gateway-{network}", None, network, bridge, str(definition.gateway)))
        for name, host in pillar.hosts.items():
            if (address := getattr(host, network)) is not None:
                found.append(
                    Place(f"{name}-{network}", name, network, definition.interface, str(address))
                )
    external = pillar.networks["external"].interface
    for name, host in pillar.hosts.items():
        if host.external_ipv6 is not None:
            address = str(host.external_ipv6)
            found.append(Place(f"{name}-ipv6", name, "external", external, address))
    return found


def _target(pillar, host, place):
    """The address of a host in the place's network, of the place's family; None without one."""
    field = "external_ipv6" if ":" in place.address else place.network
    return getattr(pillar.hosts[host], field)


@pytest.fixture(scope="module")
def send(provider):
    """send(place, target, source=…, next_hop=…): every port of target, from that place."""

    def run(place, target, source=None, next_hop=None):
        task = {
            "interface": place.interface,
            "source": source or place.address,
            "target": target,
            "next_hop": next_hop or target,
        }
        argv = ["python3", "-", json.dumps(task)]
        if place.host is None:
            done = subprocess.run(
                provider.namespace_command(argv), input=SENDER.encode(), capture_output=True,
                check=False, timeout=120,
            )  # fmt: skip
            return done.returncode, done.stderr.decode()
        done = provider.run(place.host, argv, stdin=SENDER.encode(), check=False, timeout=120)
        return done.returncode, done.stderr.decode()

    return run


@pytest.fixture(scope="module")
def watch(provider, pillar):
    """watch(host): what its firewall let in so far. The watching tables go at the end."""
    for host in pillar.minions():
        provider.run(host, ["nft", "-f", "-"], stdin=port_watch.RULES.encode())
    yield lambda host: port_watch.parse(provider.run(host, port_watch.LIST).stdout.decode())
    for host in pillar.minions():
        provider.run(host, port_watch.REMOVE, check=False)


@pytest.fixture(scope="module")
def declared(compiled):
    """declared(host, network, source): {(proto, port)} that pillar opens there for that source."""

    def find(host, network, source):
        found = set()
        for rule in compiled(host)["firewall"]:
            if rule["network"] != network or (rule["sources"] and source not in rule["sources"]):
                continue
            if rule["proto"] == "vrrp":  # no ports: keepalived's own protocol
                continue
            first, _, last = rule["ports"].partition("-")
            ports = range(int(first), int(last or first) + 1)
            found |= {(rule["proto"], port) for port in ports}
        return found

    return find


def _summary(ports):
    """Ports for a failure message: ranges instead of ten thousand numbers."""
    parts = []
    for proto, group in itertools.groupby(sorted(ports), key=lambda item: item[0]):
        numbers = [port for _, port in group]
        for _, run in itertools.groupby(enumerate(numbers), key=lambda item: item[1] - item[0]):
            run = [port for _, port in run]
            parts.append(f"{proto}/{run[0]}" + (f"-{run[-1]}" if len(run) > 1 else ""))
    return ", ".join(parts) or "none"


@pytest.fixture(scope="module")
def difference(pillar, send, watch, declared):
    """difference(place, host, target): what is open and not declared there, or the reverse."""

    def look(place, host, target):
        way = (pillar.networks[place.network].interface, place.address, target)
        for _ in range(ATTEMPTS):
            code, error = send(place, target)
            assert code == 0, f"{place.name} to {host}: {error}"
            seen = watch(host)
            if seen.arrived.get(way, 0) >= FRAMES:
                break
        assert seen.arrived.get(way, 0) >= FRAMES, f"{place.name} to {host}: frames were lost"
        passed, expected = seen.passed.get(way, set()), declared(host, place.network, place.address)
        if passed == expected:
            return []
        return [
            f"{place.name} to {host}: open but not declared {_summary(passed - expected)}; "
            f"declared but closed {_summary(expected - passed)}"
        ]

    return look


def test_every_pair_of_hosts_and_both_gateways(pillar, difference):
    """From each place to each host on the same network: let in is exactly what is declared."""

    def look_at(host):
        """One place after the other: what is counted at a host is of one sender."""
        ways = [(place, _target(pillar, host, place)) for place in _places(pillar)]
        ways = [(place, str(target)) for place, target in ways if target and place.host != host]
        return [wrong for place, target in ways for wrong in difference(place, host, target)]

    with ThreadPoolExecutor(HOSTS_AT_ONCE) as pool:
        wrong = list(itertools.chain(*pool.map(look_at, pillar.minions())))
    assert not wrong, "\n".join(wrong)


def _outside(pillar, suffix="external"):
    return next(p for p in _places(pillar) if p.name == f"client-1-{suffix}")


def test_nothing_is_open_at_an_address_of_the_link_itself(pillar, provider, send, watch):
    """Every interface with IPv6 has a link-local address, whatever pillar says."""
    place = _outside(pillar, "ipv6")
    interface = pillar.networks["external"].interface
    for host in (name for name in pillar.minions() if pillar.hosts[name].external_ipv6):
        argv = ["ip", "-6", "-json", "address", "show", "dev", interface, "scope", "link"]
        found = json.loads(provider.run(host, argv).stdout)
        # iproute2 leaves an empty entry for each address that it does not show.
        infos = [item for link in found for item in link.get("addr_info", [])]
        (target,) = [item["local"] for item in infos if item]
        code, error = send(place, target)
        assert code == 0, error
        way = (interface, place.address, target)
        seen = watch(host)
        assert seen.arrived.get(way, 0) > 0, "the packets did not arrive: nothing was tested"
        assert not seen.passed.get(way), f"{host}: {_summary(seen.passed[way])}"


def test_no_internal_address_from_outside(pillar, send, watch):
    """By the gateway, and straight to a host's external interface: nothing comes in."""
    place = _outside(pillar)
    gateway = str(pillar.networks["external"].gateway)
    for host in pillar.minions():
        internal = str(pillar.hosts[host].internal)
        hops = [gateway]
        if pillar.hosts[host].external is not None:
            hops.append(str(pillar.hosts[host].external))
        for hop in hops:
            code, error = send(place, internal, next_hop=hop)
            assert code == 0, error
        seen = watch(host)
        passed = {way: ports for way, ports in seen.passed.items()
                  if way[1] == place.address and way[2] == internal}  # fmt: skip
        assert not passed, f"{host} is open at {internal} from outside: {passed}"
        if "pbx" in pillar.hosts[host].roles:
            arrived = [way for way in seen.arrived if way[1] == place.address]
            assert not arrived, f"packets from outside reached {host}: {arrived}"


def test_a_trusted_address_cannot_be_played_from_outside(pillar, send, watch):
    """A packet from eth1 with the PBX's or the master's address is dropped by every host."""
    place = _outside(pillar)
    trusted = [str(pillar.hosts["pbx-1"].internal), str(pillar.networks["internal"].gateway)]
    for host in pillar.minions():
        external = pillar.hosts[host].external
        if external is None:
            continue
        interface = pillar.networks["external"].interface
        for source in trusted:
            code, error = send(place, str(external), source=source)
            assert code == 0, error
            way = (interface, source, str(external))
            seen = watch(host)
            assert seen.arrived.get(way, 0) > 0, "the packets did not arrive: nothing was tested"
            assert not seen.passed.get(way), f"{host} believes {source} from outside"


@pytest.mark.parametrize("host", ["sip-1", "media-1", "media-2", "pbx-1", "devstack"])
def test_hosts_listen_on_declared_ports_only(host, on, compiled):
    declared = {}
    for rule in compiled(host)["firewall"]:
        if rule["proto"] == "vrrp":  # no ports: keepalived's own protocol
            continue
        first, _, last = rule["ports"].partition("-")
        declared.setdefault(rule["proto"], []).append(range(int(first), int(last or first) + 1))
    stray = []
    for line in on(host, "ss", "-Hlntup").splitlines():
        proto, _state, _, _, local, _peer, *process = line.split(None, 6)
        address, _, port = local.rpartition(":")
        if address.strip("[]").split("%")[0] in ("127.0.0.1", "::1", "127.0.0.53", "127.0.0.54"):
            continue
        is_declared = any(int(port) in ports for ports in declared.get(proto, []))
        # An unconnected UDP socket on an ephemeral port is a client's; the filter closes it.
        is_client = proto == "udp" and int(port) >= CLIENT_UDP_FROM
        if not (is_declared or is_client):
            stray.append(f"{proto} {local} {' '.join(process)}")
    assert not stray, f"{host} listens where pillar declares nothing:\n" + "\n".join(stray)


def _connect(provider, place, address, ports):
    """The ports that take a TCP connection from there."""
    program = (
        "import json, socket, sys\n"
        "address, ports = json.loads(sys.argv[1])\n"
        "opened = []\n"
        "for port in ports:\n"
        "    try:\n"
        "        socket.create_connection((address, port), 3).close(); opened.append(port)\n"
        "    except OSError: pass\n"
        "print(json.dumps(opened))\n"
    )
    argv = ["python3", "-c", program, json.dumps([address, sorted(ports)])]
    return set(json.loads(provider.run(place.host, argv).stdout))


def test_every_declared_tcp_port_answers(pillar, provider, declared):
    """From one host that may: a connection is taken. (UDP: the daemons' own lab tests speak it.)"""
    wrong = []
    for place, host in itertools.product(_places(pillar), pillar.minions()):
        target = _target(pillar, host, place)
        if target is None or place.host in (None, host, "pbx-1"):
            continue
        ports = {p for proto, p in declared(host, place.network, place.address) if proto == "tcp"}
        missing = ports - _connect(provider, place, str(target), ports)
        if missing:
            wrong.append(f"{place.name} to {host}: no answer on tcp/{sorted(missing)}")
    assert not wrong, "\n".join(wrong)


def test_udp_ports_have_their_listener(on, compiled):
    """Single declared UDP ports (not media ranges, opened call by call) are bound."""
    for host in ("sip-1", "media-1", "pbx-1"):
        bound = {
            line.split()[3].rpartition(":")[2] for line in on(host, "ss", "-Hlnu").splitlines()
        }
        wanted = {
            rule["ports"]
            for rule in compiled(host)["firewall"]
            if rule["proto"] == "udp" and "-" not in rule["ports"]
        }
        assert wanted <= bound, f"{host}: nobody listens on udp {wanted - bound}"


def test_the_pbx_opens_only_what_is_declared(pillar, provider, compiled):
    """Its outgoing policy: the proxy's TLS port yes, the cleartext port and the database no."""
    sip, devstack = (str(pillar.hosts[name].internal) for name in ("sip-1", "devstack"))
    allowed = {(rule["ports"], address) for rule in compiled("pbx-1")["egress"]
               for address in rule["destinations"]}  # fmt: skip
    place = next(p for p in _places(pillar) if p.host == "pbx-1")
    for proxy in PROXIES:
        ports = {name: item.ports[0] for name, item in pillar.services[proxy].items()}
        assert (str(ports["sip-tls"]), sip) in allowed
        tried = {ports["sip-tls"], ports["sip-tcp"], ports["wss"]}
        assert _connect(provider, place, sip, tried) == {ports["sip-tls"]}
    database = pillar.services["postgresql"]["sql"].ports[0]
    vault = pillar.services["openbao"]["api"].ports[0]
    assert _connect(provider, place, devstack, {database, vault}) == {vault}


@pytest.mark.parametrize("host", ["sip-1", "media-1", "media-2", "pbx-1", "devstack"])
def test_the_firewall_survives_a_restart_of_its_unit(host, on):
    """What boot does: the unit loads the file, and no table of others goes."""
    # Without the sources whose connections are counted: they come and go.
    rules = ("nft", "--stateless", "--terse", "list", "table", "inet", "voip")
    on(host, "nft", "add table ip voip_other")
    try:
        before = on(host, *rules)
        assert on(host, "systemctl", "is-enabled", "nftables").strip() == "enabled"
        on(host, "systemctl", "restart", "nftables")
        assert on(host, *rules) == before
        assert "voip_other" in on(host, "nft", "list", "tables")
    finally:
        on(host, "nft", "delete table ip voip_other")


def test_a_rule_added_by_hand_is_taken_out(on, salt):
    def apply(*more):
        wanted = ("Load the declared firewall rules", "firewall.configured", *more)
        done = salt("media-1", "state.sls_id", *wanted, timeout_s=60)
        return next(item for name, item in done.items() if name.startswith("voip_firewall_"))

    on("media-1", "nft", "insert rule inet voip input tcp dport 23 accept")
    predicted = apply("test=True")
    assert predicted["result"] is None
    done = apply()
    assert done["result"] is True
    assert done["changes"] == predicted["changes"]
    assert "tcp dport 23 accept" in done["changes"]["live"]["removed"]
    assert "tcp dport 23" not in on("media-1", "nft", "list", "table", "inet", "voip")


def test_rules_that_cut_the_master_are_taken_back(pillar, compiled, salt, on):
    """For real: an outgoing policy that forgets the master. The host stays reachable."""
    host = compiled("pbx-1")
    internal = host["self"]["networks"]["internal"]
    arguments = {
        "rules": host["firewall"],
        "addresses": {internal["interface"]: [host["self"]["addresses"]["internal"]]},
        "networks": {internal["interface"]: internal["cidr"]},
        "masters": [host["master"]["address"]],
        "master_ports": [host["master"]["publish"], host["master"]["request"]],
        "egress": [],
    }
    words = [f"{name}={json.dumps(value)}" for name, value in arguments.items()]
    before = salt("pbx-1", "voip_firewall.live", timeout_s=30)
    with pytest.raises(Problem, match="the former ones are back"):
        salt(
            "pbx-1", "state.single", "voip_firewall.managed", "/etc/nftables.d/voip.nft", *words,
            timeout_s=60,
        )  # fmt: skip
    assert salt("pbx-1", "voip_firewall.live", timeout_s=30) == before
