"""Media of every kind of phone: keys by SDES or DTLS, behind NAT; and of nobody else."""

import concurrent.futures
import json
import subprocess
import wave
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from tests.lab.phones import DTLS, NUMBERS, SDES, call, heard, phones, profiles, talk
from voip_stack.call.dialogue import CALLEE, CALLER
from voip_stack.call.tones import judge
from voip_stack.paths import checkout

INTRUDER = (Path(__file__).parent / "intruder.py").read_bytes()
OUTSIDE = "client-1"
TRIES = 10_000
FEATURES = "/etc/kamailio/voip/tables/feature"
NAT = "voip-nat"
BEHIND = "10.64.7.2"
# A router that gives every flow another port, as many a home router does.
NAT_UP = f"""
ip netns add {NAT}
ip link add {NAT} type veth peer name eth0 netns {NAT}
ip address add 10.64.7.1/24 dev {NAT}
ip link set {NAT} up
ip -n {NAT} link set lo up
ip -n {NAT} address add {BEHIND}/24 dev eth0
ip -n {NAT} link set eth0 up
ip -n {NAT} route add default via 10.64.7.1
echo 1 > /proc/sys/net/ipv4/ip_forward
nft -f - <<END
table ip voip_nat {{
  chain post {{
    type nat hook postrouting priority srcnat
    oifname "eth1" ip saddr 10.64.7.0/24 masquerade fully-random
  }}
}}
END
"""
NAT_DOWN = f"""
nft delete table ip voip_nat
ip netns delete {NAT}
ip link delete {NAT}
echo 0 > /proc/sys/net/ipv4/ip_forward
true
"""


@pytest.fixture
def nat(on):
    """A network namespace of the outside guest behind a router that masquerades."""
    on(OUTSIDE, "sh", "-c", NAT_DOWN + "exec 2>&1")
    on(OUTSIDE, "sh", "-ec", NAT_UP)
    try:
        yield ("ip", "netns", "exec", NAT)
    finally:
        on(OUTSIDE, "sh", "-c", NAT_DOWN)


@pytest.fixture
def stranger(on, pillar):
    """stranger(address) -> one of the same family that is nobody's, the outside guest's for now."""
    external = pillar.networks["external"]
    networks = [ip_network(str(cidr)) for cidr in (external.cidr, external.ipv6)]
    found = {network.version: network[-6] for network in networks}
    for network in networks:
        address = f"{found[network.version]}/{network.prefixlen}"
        # No source of anything that does not ask for it.
        extra = ("nodad", "preferred_lft", "0") if network.version == 6 else ()
        on(OUTSIDE, "ip", "address", "add", address, "dev", "eth1", *extra)
    try:
        yield lambda address: str(found[ip_address(address).version])
    finally:
        for network in networks:
            address = f"{found[network.version]}/{network.prefixlen}"
            on(OUTSIDE, "ip", "address", "del", address, "dev", "eth1")


@pytest.fixture
def intrude(provider):
    """intrude(do="sweep", ...): what intruder.py answers."""

    def run(**order):
        argv = ["python3", "-", json.dumps(order)]
        return json.loads(provider.run(OUTSIDE, argv, stdin=INTRUDER, timeout=60).stdout)

    return run


@pytest.fixture
def feature(on, pillar, eventually):
    """feature("1002", "dtls"): the proxies know it, as the pillar makes them know it."""
    proxies = [name for name, host in pillar.hosts.items() if "sip" in host.roles]
    was = {host: on(host, "cat", FEATURES) for host in proxies}
    # The proxy looks at the file's time in whole seconds: a second change in one would go unseen.
    script = f"cat > {FEATURES} && kamcmd htable.reload feature && kamcmd htable.dump feature"

    def put(host, text, name, is_there):
        def is_read():
            dump = on(host, "sh", "-ec", script, stdin=text.encode())
            return (name in dump) is is_there

        eventually(is_read, 10, 1.1)

    wanted = []

    def give(number, name):
        wanted.append(f"{number}::{name}")
        for host, text in was.items():
            put(host, f"{text}{number}\\:\\:{name}:0:1:1:0\n", wanted[-1], True)

    yield give
    for host, text in was.items():
        for name in wanted:
            put(host, text, name, False)


@pytest.fixture
def dtls_callee(feature):
    feature("1002", "dtls")


@pytest.fixture
def recorded_caller(feature):
    feature("1001", "record")


@pytest.mark.parametrize("caller", ["sdes", "dtls+ice"])
def test_a_phone_with_dtls_is_called(caller, dtls_callee, media):
    with phones(keying=(caller, "dtls")) as dialogue:
        setup = call(dialogue)
        talk(dialogue, 1.5)
        _, ours = media(setup.call_id_a)
        _, theirs = media(setup.call_id_b)
    assert profiles(ours)["external"] == (SDES if caller == "sdes" else DTLS)
    assert profiles(theirs)["external"] == DTLS
    assert profiles(ours)["internal"] == profiles(theirs)["internal"] == SDES


def test_a_phone_with_dtls_calls_one_without(media):
    with phones(keying=("dtls+ice", "sdes")) as dialogue:
        setup = call(dialogue)
        talk(dialogue, 1.5)
        assert profiles(media(setup.call_id_a)[1])["external"] == DTLS
        assert profiles(media(setup.call_id_b)[1])["external"] == SDES


@pytest.mark.parametrize("keying", ["sdes", "dtls+ice"])
def test_phones_behind_nat_hear_each_other(keying, nat, media, pillar):
    outside = str(pillar.hosts[OUTSIDE].external)
    with phones(keying=(keying, "sdes"), address=BEHIND, prefix=nat) as dialogue:
        setup = call(dialogue)
        talk(dialogue, 4)
        for call_id in (setup.call_id_a, setup.call_id_b):
            (leg,) = [one for one in media(call_id)[1] if one["interface"] == "external"]
            # What the router made of it: its address, and another port than the phone's own.
            assert leg["remote"].startswith(f"{outside}:")
            assert not 20000 <= int(leg["remote"].rpartition(":")[2]) < 20400


@pytest.fixture
def outer(media):
    """outer(call_id) -> (host, the stream between its relay and the device)."""

    def find(call_id):
        host, legs = media(call_id)
        (leg,) = [leg for leg in legs if leg["interface"] == "external"]
        return host, leg

    return find


def end_of(leg, side):
    """(address, port) of a leg's "local" or "remote"."""
    address, _, port = leg[side].rpartition(":")
    return address.strip("[]"), int(port)


def test_ten_thousand_packets_of_a_stranger_reach_nobody(outer, intrude, stranger, salt, pillar):
    """Ten thousand by IPv4 to the caller's stream, and as many by IPv6 to the callee's."""
    with phones(by_ipv6=NUMBERS[1:]) as dialogue:
        setup = call(dialogue)
        call_ids = {CALLER: setup.call_id_a, CALLEE: setup.call_id_b}
        dialogue.start_tones()
        # The relay has learned where the phone is when three seconds have passed.
        dialogue.hold(3.5)
        before = {ua: outer(call_id)[1] for ua, call_id in call_ids.items()}
        orders = {}
        for ua, leg in before.items():
            (at, port), (victim, victim_port) = end_of(leg, "local"), end_of(leg, "remote")
            orders[ua] = {
                "do": "inject", "media": at, "port": port, "victim": victim, "count": TRIES,
                "victim_port": victim_port, "stranger": stranger(victim), "listen_s": 1,
            }  # fmt: skip
        # One after the other: what the relay cannot take in would not be refused.
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            done = {ua: pool.submit(intrude, **order) for ua, order in orders.items()}
            while not all(one.done() for one in done.values()):
                dialogue.hold(0.2)
        found = {ua: one.result() for ua, one in done.items()}
        dialogue.stop_tones()
        states = dialogue.streams()
        (pbx,) = [name for name, one in pillar.hosts.items() if "pbx" in one.roles]
        channels = {row["call_id"]: row for row in salt(pbx, "asterisk.channels")}
        after = {ua: outer(call_id)[1] for ua, call_id in call_ids.items()}
        dialogue.hang_up()
        reports = [heard(dialogue, listener) for listener in (CALLER, CALLEE)]
    assert [ip_address(order["media"]).version for order in orders.values()] == [4, 6]
    for ua, call_id in call_ids.items():
        assert found[ua]["sent"] == TRIES
        assert found[ua]["received"] == 0
        assert channels[call_id]["rx"]["packets"] == states[ua].sent
        assert states[ua].received == channels[call_id]["tx"]["packets"]
        # RTPEngine counts what it refuses: all of it came there, nothing of it went on.
        refused = after[ua]["errors"] - before[ua]["errors"]
        assert refused >= 0.99 * (TRIES + found[ua]["own"]), (refused, found[ua])
        assert after[ua]["remote"] == before[ua]["remote"]
        print(
            f"to {orders[ua]['media']}: {TRIES} of wrong source, {found[ua]['own']} forged in",
            end=" ",
        )
        print(f"the phone's name: {refused} refused, 0 forwarded, {found[ua]['received']} answered")
    assert all(report.ok for report in reports), reports


def test_a_sweep_of_every_media_port_gets_nothing_back(intrude, stranger, outer, compiled):
    """While the relays still learn where the phones are: nothing was sent to them so far.

    To the PBX it is two calls, which may be at two relays: one by IPv4, the other by IPv6.
    """
    with phones(by_ipv6=NUMBERS[1:]) as dialogue:
        setup = call(dialogue)
        call_ids = {CALLER: setup.call_id_a, CALLEE: setup.call_id_b}
        relays = {}
        for call_id in call_ids.values():
            host, leg = outer(call_id)
            relays[end_of(leg, "local")[0]] = compiled(host)["ports"]["rtpengine"]["rtp"]
        with concurrent.futures.ThreadPoolExecutor() as pool:
            swept = {
                address: pool.submit(
                    intrude, do="sweep", media=address, first=first, last=last,
                    stranger=stranger(address), listen_s=2.5,
                )
                for address, (first, last) in relays.items()
            }  # fmt: skip
            dialogue.hold(0.5)
            dialogue.start_tones()
            dialogue.hold(3)
            dialogue.stop_tones()
            found = {address: done.result() for address, done in swept.items()}
        states = dialogue.streams()
        legs = {ua: outer(call_id)[1] for ua, call_id in call_ids.items()}
        dialogue.hang_up()
    assert [ip_address(address).version for address in relays] == [4, 6]
    # By counters, not by ear: each end got what the other one sent, and nothing else.
    assert states[CALLER].received == states[CALLEE].sent > 100
    assert states[CALLEE].received == states[CALLER].sent > 100
    for ua, leg in legs.items():
        assert leg["packets"] == states[ua].sent
        assert leg["errors"] >= 1, "the probe did not come to an open port"
        remote, _ = end_of(leg, "remote")
        assert remote != stranger(remote)
    for address, (first, last) in relays.items():
        assert found[address]["received"] == 0
        assert found[address]["sent"] == last - first + 1


def voip(*words):
    done = subprocess.run(
        [str(checkout() / "voip"), *words], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_recording_plays_back_as_the_tones_that_were_sent(
    recorded_caller, media, on, eventually, tmp_path
):
    """The caller's leg by its subscriber's setting, the callee's because somebody asked for it."""
    with phones() as dialogue:
        setup = call(dialogue)
        relay = {call_id: media(call_id)[0] for call_id in (setup.call_id_a, setup.call_id_b)}
        begun = voip("recordings", "start", setup.call_id_b, "--json")
        assert begun == {"relay": relay[setup.call_id_b], "call_id": setup.call_id_b}
        talk(dialogue, 3)
        sent = {ua: (dialogue.tone_s(ua), dialogue.parties[ua].tone_hz) for ua in dialogue.parties}

    def found():
        rows = voip("recordings", "list", "--json")
        ours = {row["call_id"]: row for row in rows if row["call_id"] in relay}
        return ours if len(ours) == 2 else None

    rows = eventually(found, 60, 1.0)
    try:
        by_number = voip("recordings", "list", "--number", "1001", "--json")
        assert rows[setup.call_id_a] in by_number
        assert rows[setup.call_id_b] not in by_number
        parties = {call_id: (row["number"], row["peer"]) for call_id, row in rows.items()}
        assert parties == {
            setup.call_id_a: ("1001", "1002"),
            setup.call_id_b: ("unknown", "unknown"),
        }
        for call_id, row in rows.items():
            assert row["relay"] == relay[call_id]
            plays_back(row, on, tmp_path / f"{row['id']}.wav", sent)
            assert voip("recordings", "audit", "--json")[0]["recording"] == row["id"]
    finally:
        for row in rows.values():
            on(row["relay"], "rm", "-f", sealed(row))


def sealed(row):
    return f"/var/lib/voip-stack/recordings/{row['id']}.sealed"


def plays_back(row, on, target, sent):
    """Nothing of it is left in the clear, what is on disk is no capture, and both tones are heard.

    sent: {party: (seconds, Hz)}.
    """
    host = row["relay"]
    assert on(host, "find", "/run/voip-recording", "-type", "f").strip() == ""
    assert on(host, "head", "-c", "8", sealed(row)) == "VOIPREC1"
    assert on(host, "stat", "-c", "%a %U", sealed(row)).split() == ["600", "rtpengine"]
    told = voip("recordings", "fetch", row["id"], "--to", str(target), "--json")
    assert told["call_id"] == row["call_id"]
    assert target.stat().st_mode & 0o777 == 0o600
    sides = stereo(target)
    for seconds, tone in sent.values():
        reports = [
            judge(side, 8000, tone_hz=tone, expected_s=seconds, echo_hz=None) for side in sides
        ]
        assert any(report.ok for report in reports), reports


def stereo(path):
    with wave.open(str(path)) as sound:
        assert (sound.getnchannels(), sound.getframerate()) == (2, 8000)
        samples = memoryview(sound.readframes(sound.getnframes())).cast("h")
    return list(samples[::2]), list(samples[1::2])
