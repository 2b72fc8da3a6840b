"""Proof on the wire: what both bridges carry during a call, and that the judge would find worse."""

import contextlib
import json
import signal
import subprocess
import threading
import time

import pytest

from voip_stack import paths
from voip_stack.call.plan import CALLEE_TONE_HZ, CALLER_TONE_HZ
from voip_stack.cli.hosts import pillar, provider_of
from voip_stack.wire.analyse import analyse, declared_ports
from voip_stack.wire.pcap import read_pcap

TONES = (CALLER_TONE_HZ, CALLEE_TONE_HZ)
BRIDGES = {"internal": "br-int", "external": "br-ext"}
OUTBOUND = {("tcp", 80), ("tcp", 443), ("udp", 53), ("tcp", 53)}
PACKETS = 100_000
STARTED_S = 10
# A second of G.711 with a 1000 Hz tone as 50 plain RTP packets, and one INVITE with a body: what
# must never be on the wire, sent outside on purpose so that the judge is seen to find it.
CONTROL = """
import math, socket, struct, sys, time
proxy, media = sys.argv[1:3]
def mu(sample):
    sign, sample = (0x80, -sample) if sample < 0 else (0, sample)
    sample = min(sample, 32635) + 0x84
    segment = sample.bit_length() - 8
    return ~(sign | segment << 4 | (sample >> (segment + 3)) & 15) & 0xFF
wave = bytes(mu(round(9000 * math.sin(2 * math.pi * 1000 * n / 8000))) for n in range(160))
link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for number in range(50):
    link.sendto(struct.pack("!BBHII", 128, 0, number, number * 160, 7) + wave, (media, 39998))
    time.sleep(0.002)
body = "v=0\\r\\no=- 1 1 IN IP4 198.18.64.100\\r\\n"
link.sendto((
    "INVITE sip:1002@voip.test SIP/2.0\\r\\nVia: SIP/2.0/UDP 198.18.64.100\\r\\n"
    f"Content-Length: {len(body)}\\r\\n\\r\\n{body}").encode(), (proxy, 5070))
"""


class Capture:
    """tcpdump on one bridge of the lab, from `with` to its end, bounded in packets."""

    def __init__(self, provider, bridge):
        self.argv = provider.namespace_command([
            "tcpdump", "-i", bridge, "-n", "-U", "--immediate-mode", "-s", "0",
            "-c", str(PACKETS), "-w", "-", "ip",
        ])  # fmt: skip
        self.data = b""

    def __enter__(self):
        self._process = subprocess.Popen(
            self.argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        end = time.monotonic() + STARTED_S
        # tcpdump writes the file's header once it listens.
        while len(self.data) < 24:
            assert self._process.poll() is None, self._process.stderr.read()
            assert time.monotonic() < end, "tcpdump did not start"
            time.sleep(0.02)
        return self

    def _read(self):
        while part := self._process.stdout.read1(1 << 16):
            self.data += part

    def __exit__(self, *_):
        self._process.send_signal(signal.SIGINT)
        self._process.wait(10)
        self._reader.join(10)
        self._process.stdout.close()
        self._process.stderr.close()

    def judge(self):
        plan = pillar()
        networks = [definition.cidr for definition in plan.networks.values()]
        return analyse(read_pcap(self.data), declared_ports(plan), TONES, networks)


@contextlib.contextmanager
def both_bridges():
    provider = provider_of()
    with contextlib.ExitStack() as stack:
        yield {
            network: stack.enter_context(Capture(provider, bridge))
            for network, bridge in BRIDGES.items()
        }


@pytest.fixture(scope="module")
def call_on_the_wire():
    argv = [str(paths.checkout() / "voip"), "call", "1001", "1002", "--json"]
    with both_bridges() as captures:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["ok"]
    return {network: capture.judge() for network, capture in captures.items()}


@pytest.mark.parametrize("network", ["internal", "external"])
def test_the_call_was_captured(call_on_the_wire, network):
    found = call_on_the_wire[network]
    # Two user agents outside and two PBX legs inside: four media streams on each bridge.
    assert found.media_streams == 4, found
    assert found.media_packets > 4 * 150
    assert found.tls_streams > 0


@pytest.mark.parametrize("network", ["internal", "external"])
def test_no_cleartext_sip_has_a_body(call_on_the_wire, network):
    assert call_on_the_wire[network].cleartext_sip == []


@pytest.mark.parametrize("network", ["internal", "external"])
def test_no_tone_can_be_heard(call_on_the_wire, network):
    assert call_on_the_wire[network].audible == []


@pytest.mark.parametrize("network", ["internal", "external"])
def test_every_port_is_a_declared_one(call_on_the_wire, network):
    assert call_on_the_wire[network].undeclared == []
    # Package downloads and names: what the lab lets out of itself.
    assert call_on_the_wire[network].outbound <= OUTBOUND


def test_media_keys_can_be_read_on_the_control_port_only(call_on_the_wire):
    """RTPEngine's control protocol knows no encryption: its one hop, from sip-1 to media-1, is on
    the internal network and closed to everybody else. Nowhere else may a key be read."""
    assert call_on_the_wire["external"].clear_keys == set()
    port = f":{pillar().services['rtpengine']['ng'].ports[0]}"
    assert all(port in flow for flow in call_on_the_wire["internal"].clear_keys)


def test_what_must_not_be_there_would_be_found():
    hosts = pillar().hosts
    proxy, media = str(hosts["sip-1"].external), str(hosts["media-1"].external)
    with both_bridges() as captures:
        provider_of().run("client-1", ["python3", "-c", CONTROL, proxy, media])
        end = time.monotonic() + STARTED_S
        while b"INVITE sip:1002" not in captures["external"].data:
            assert time.monotonic() < end, "the control packets were not captured"
            time.sleep(0.02)
    found = captures["external"].judge()
    assert any("1000 Hz, read as PCMU" in line for line in found.audible), found
    assert any("INVITE sip:1002@voip.test" in line for line in found.cleartext_sip), found
    assert captures["internal"].judge().audible == []
