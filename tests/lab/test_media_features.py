"""Media of every kind of phone: keys by SDES or DTLS, behind NAT; and of nobody else."""

import concurrent.futures
import json
import subprocess
import wave
from ipaddress import ip_network
from pathlib import Path

import pytest

from tests.lab.phones import DTLS, SDES, call, heard, phones, profiles, talk
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
    """An address outside that is nobody's, given to the outside guest for the test."""
    network = ip_network(str(pillar.networks["external"].cidr))
    address = f"{network[-6]}"
    on(OUTSIDE, "ip", "address", "add", f"{address}/{network.prefixlen}", "dev", "eth1")
    try:
        yield address
    finally:
        on(OUTSIDE, "ip", "address", "del", f"{address}/{network.prefixlen}", "dev", "eth1")


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


def test_ten_thousand_packets_of_a_stranger_reach_nobody(media, intrude, stranger, salt, pillar):
    with phones() as dialogue:
        setup = call(dialogue)
        dialogue.start_tones()
        # The relay has learned where the phone is when three seconds have passed.
        dialogue.hold(3.5)
        host, legs = media(setup.call_id_a)
        (outer,) = [leg for leg in legs if leg["interface"] == "external"]
        (at, port), (victim, victim_port) = (
            outer[end].rsplit(":", 1) for end in ("local", "remote")
        )
        order = {
            "do": "inject", "media": at, "port": int(port), "victim": victim, "count": TRIES,
            "victim_port": int(victim_port), "stranger": stranger, "listen_s": 1,
        }  # fmt: skip
        with concurrent.futures.ThreadPoolExecutor() as pool:
            done = pool.submit(intrude, **order)
            while not done.done():
                dialogue.hold(0.2)
            found = done.result()
        dialogue.stop_tones()
        states = dialogue.streams()
        (pbx,) = [name for name, one in pillar.hosts.items() if "pbx" in one.roles]
        channels = {row["call_id"]: row for row in salt(pbx, "asterisk.channels")}
        (after,) = [
            leg
            for leg in salt(host, "rtpengine.legs", setup.call_id_a)
            if leg["interface"] == "external"
        ]
        dialogue.hang_up()
        reports = [heard(dialogue, listener) for listener in (CALLER, CALLEE)]
    assert found["sent"] == TRIES
    assert found["received"] == 0
    assert channels[setup.call_id_a]["rx"]["packets"] == states[CALLER].sent
    assert states[CALLEE].received == channels[setup.call_id_b]["tx"]["packets"]
    # RTPEngine counts what it refuses: all of it came there, nothing of it went on.
    refused = after["errors"] - outer["errors"]
    assert refused >= 0.99 * (found["sent"] + found["own"]), (refused, found)
    assert after["remote"] == outer["remote"]
    assert all(report.ok for report in reports), reports
    print(f"{found['sent']} of wrong source, {found['own']} forged in the phone's name:", end=" ")
    print(f"{refused} refused, 0 forwarded, {found['received']} answered")


def test_a_sweep_of_every_media_port_gets_nothing_back(intrude, stranger, media, compiled):
    """While the relays still learn where the phones are: nothing was sent to them so far.

    To the PBX it is two calls, which may be at two relays.
    """
    with phones() as dialogue:
        setup = call(dialogue)
        call_ids = {CALLER: setup.call_id_a, CALLEE: setup.call_id_b}

        def outside(call_id):
            host, legs = media(call_id)
            (leg,) = [leg for leg in legs if leg["interface"] == "external"]
            return host, leg

        relays = {}
        for call_id in call_ids.values():
            host, leg = outside(call_id)
            relays[leg["local"].rpartition(":")[0]] = compiled(host)["ports"]["rtpengine"]["rtp"]
        with concurrent.futures.ThreadPoolExecutor() as pool:
            swept = {
                address: pool.submit(
                    intrude, do="sweep", media=address, first=first, last=last,
                    stranger=stranger, listen_s=2.5,
                )
                for address, (first, last) in relays.items()
            }  # fmt: skip
            dialogue.hold(0.5)
            dialogue.start_tones()
            dialogue.hold(3)
            dialogue.stop_tones()
            found = {address: done.result() for address, done in swept.items()}
        states = dialogue.streams()
        outer = {ua: outside(call_id)[1] for ua, call_id in call_ids.items()}
        dialogue.hang_up()
    # By counters, not by ear: each end got what the other one sent, and nothing else.
    assert states[CALLER].received == states[CALLEE].sent > 100
    assert states[CALLEE].received == states[CALLER].sent > 100
    for ua, leg in outer.items():
        assert leg["packets"] == states[ua].sent
        assert leg["errors"] >= 1, "the probe did not come to an open port"
        assert stranger not in leg["remote"]
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
    with phones() as dialogue:
        setup = call(dialogue)
        host, _ = media(setup.call_id_a)
        talk(dialogue, 3)
        sent = {ua: (dialogue.tone_s(ua), dialogue.parties[ua].tone_hz) for ua in dialogue.parties}

    def found():
        rows = voip("recordings", "list", "--number", "1001", "--json")
        return [row for row in rows if row["call_id"] == setup.call_id_a]

    (row,) = eventually(found, 60, 1.0)
    try:
        assert (row["number"], row["peer"], row["relay"]) == ("1001", "1002", host)
        # Nothing of it is left in the clear, and what is kept on disk is not a capture.
        assert on(host, "find", "/run/voip-recording", "-type", "f").strip() == ""
        sealed = f"/var/lib/voip-stack/recordings/{row['id']}.sealed"
        assert on(host, "head", "-c", "8", sealed) == "VOIPREC1"
        assert on(host, "stat", "-c", "%a %U", sealed).split() == ["600", "rtpengine"]
        target = tmp_path / "call.wav"
        told = voip("recordings", "fetch", row["id"], "--to", str(target), "--json")
        assert told["call_id"] == setup.call_id_a
        assert target.stat().st_mode & 0o777 == 0o600
        for seconds, tone in sent.values():
            reports = [
                judge(side, 8000, tone_hz=tone, expected_s=seconds, echo_hz=None)
                for side in stereo(target)
            ]
            assert any(report.ok for report in reports), reports
        assert voip("recordings", "audit", "--json")[0]["recording"] == row["id"]
    finally:
        on(host, "rm", "-f", f"/var/lib/voip-stack/recordings/{row['id']}.sealed")


def stereo(path):
    with wave.open(str(path)) as sound:
        assert (sound.getnchannels(), sound.getframerate()) == (2, 8000)
        samples = memoryview(sound.readframes(sound.getnframes())).cast("h")
    return list(samples[::2]), list(samples[1::2])
