"""The primary proxy is changed under calls: registrations and new calls move, none fails.

A call goes on from before to after; a device that is registered is called every second and a half,
by callers that come to the shared address each time.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.conftest import way
from tests.lab.phones import call, hears, phones
from tests.told import tell
from voip_stack import switch, vault
from voip_stack.call.dialogue import CALLEE, CALLER
from voip_stack.paths import CHECKOUT

HERE = Path(__file__).parent
TOLD = "the primary proxy is changed under calls"
PROGRAMS = ("sip_probe.py", "sip_ladder.py", "steady.py")
DEVICE, REFRESH_S, PAUSE_S = "1003", 3, 1.5
CONNECT = b"""
import json, socket, sys
found = []
for port in json.loads(sys.argv[2]):
    try:
        socket.create_connection((sys.argv[1], port), 1).close()
        found.append(port)
    except OSError:
        pass
print(json.dumps(found))
"""
# Until then who is in a call is waited for, and Kamailio has noticed that a connection has ended.
PATIENCE_S = 18


def switched(*arguments):
    """What ./voip switch-proxy says, and its exit code."""
    argv = [sys.executable, "-m", "voip_stack", "switch-proxy", "--json", *arguments]
    done = subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, timeout=120)
    assert done.stdout, done.stderr
    return json.loads(done.stdout), done.returncode


@pytest.fixture(scope="module", autouse=True)
def as_declared():
    """The pillar says afterwards what it said before, and so does the lab."""
    declared = switch.primary()
    yield
    switched(declared, "--wait", f"{PATIENCE_S}s")


@pytest.fixture
def entrance(pillar, compiled):
    """(link, names): link(transport) -> how sip_probe gets to the shared address; phones' DNS."""
    address = str(pillar.hosts["sip-1"].shared.external)

    def link(transport):
        return way(pillar, pillar.shared, transport) | {"address": address}

    return link, {pillar.site.proxy_name: address}


@pytest.fixture
def steady(provider, pillar, entrance):
    """steady(transport) -> a process that tells what became of its calls when its input ends."""
    link, _ = entrance
    running = []

    def start(transport):
        for name in PROGRAMS:
            provider.put("client-1", f"/run/{name}", (HERE / name).read_bytes())
        passwords = vault.subscriber_passwords(["1002", DEVICE])
        order = {
            "link": link(transport), "domain": pillar.site.domain, "number": DEVICE,
            "password": passwords[DEVICE], "caller": "1002", "caller_password": passwords["1002"],
            "refresh_s": REFRESH_S, "pause_s": PAUSE_S,
        }  # fmt: skip
        argv = provider.command("client-1", ["python3", "/run/steady.py", json.dumps(order)])
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        running.append(subprocess.Popen(argv, **pipes))
        assert json.loads(running[-1].stdout.readline()) == {"registered": True}
        return running[-1]

    yield start
    for process in running:
        process.kill()


def proxy_of(came_by, ports):
    """By which proxy a call came in: outside both say the shared port, inside each its own."""
    own = ports["kamailio"]["sip-tls"]
    return "kamailio" if own in came_by else "opensips"


def registered(salt):
    counts = salt("sip-1", "voip_shared.counts")
    return {name: there["registered"] for name, there in counts["proxies"].items()}


def test_the_shared_address_has_the_shared_ports_alone(pillar, compiled, on):
    """By IPv4 and IPv6; the proxies' own ports, and what else the host has, are not there."""
    shared = pillar.hosts["sip-1"].shared
    listeners = compiled("sip-1")["ports"]
    ports = {
        own for name in ("kamailio", "opensips", "webphone") for own in listeners[name].values()
    }
    for address in (shared.external, shared.external_ipv6):
        found = json.loads(
            on("client-1", "python3", "-", str(address), json.dumps(sorted(ports)), stdin=CONNECT)
        )
        assert found == sorted(set(pillar.shared.values()))


@pytest.mark.parametrize("transport", ["tls", "wss"])
def test_everybody_moves_and_no_call_fails(transport, salt, compiled, entrance, steady, eventually):
    """There, and back in the next one."""
    _, names = entrance
    ports = compiled("sip-1")["ports"]
    was = switch.primary()
    to = next(name for name in ("kamailio", "opensips") if name != was)
    # The shared address has the ports of OpenSIPS, whoever answers there.
    with phones(proxy="opensips", names=names) as dialogue:
        # What the test before has left ends when Kamailio notices.
        eventually(lambda: registered(salt) == {was: 2, to: 0}, 20, pause=1)
        call(dialogue)
        dialogue.start_tones()
        calls = steady(transport)
        found, code = switched(to, "--wait", f"{PATIENCE_S}s")
        # Who is in the call is left where he is.
        assert (found["to"], found["was"], code) == (to, was, 1), found
        assert (found["moved"], found["left"]) == ([DEVICE], 2), found
        assert found["calls"] >= 2, found
        assert hears(dialogue, CALLER)
        assert hears(dialogue, CALLEE)
        dialogue.stop_tones()
        states = dialogue.streams()
        dialogue.hang_up()
        # From before to after, by packets; a busy machine starves the user agents of some.
        for speaker, listener in ((CALLER, CALLEE), (CALLEE, CALLER)):
            assert states[listener].received >= states[speaker].sent * 0.8
    # They have gone, and the device is where it came to.
    eventually(lambda: registered(salt) == {was: 0, to: 1}, 20, pause=1)
    again, code = switched("--wait", f"{PATIENCE_S}s")
    assert (again["moved"], again["left"], code) == ([], 0, 0)
    report = json.loads(calls.communicate("", timeout=60)[0])
    failed = [item for item in report["calls"] if item["status"] != 200]
    assert (failed, report["failures"]) == ([], [])
    came_by = [proxy_of(item["ports"], ports) for item in report["calls"]]
    assert (came_by[0], came_by[-1]) == (was, to)
    longest = max(item["took_s"] for item in report["calls"])
    tell(
        TOLD,
        f"{was} to {to}, device by {transport}: {len(came_by)} calls, 0 failed, the slowest "
        f"{longest:.1f} s; it moved within {found['took_s']:.1f} s; 2 in a call stayed",
    )
