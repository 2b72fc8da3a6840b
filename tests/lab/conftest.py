"""The lab, brought up when the first test begins: its provider, its pillar, Salt's answers as data.

Nothing here skips: where the lab does not come up, each of its tests fails with the reason.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from pathlib import Path

import pytest

from tests.lab.guest_python import GuestPython
from tests.lab.ladders import Ladders
from tests.lab.proxies import PROXIES
from voip_stack import vault
from voip_stack.cli.hosts import provider_of
from voip_stack.master import client
from voip_stack.paths import ca_file, pillar_dir
from voip_stack.pillar import compile_for, load
from voip_stack.problem import Problem
from voip_stack.testing import bring_up

PROBE = Path(__file__).with_name("sip_probe.py").read_bytes()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """Who was shut out when a test failed is told with it, and let in again: the next one's phones
    come from the same address."""
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        report.sections.append(("shut out by the proxies", _let_in()))


def _let_in():
    """What each proxy said of its bans, before they were lifted."""
    said = []
    for proxy in PROXIES:
        try:
            for ban in client.call("sip-1", f"{proxy.name}.bans"):
                said.append(f"{proxy.name}: {ban}")
                client.call("sip-1", f"{proxy.name}.unban", ban["source"])
        except Exception as problem:  # the lab itself may be what failed
            said.append(f"{proxy.name}: {problem}")
    return "\n".join(said) or "nobody"


@pytest.fixture(scope="session", autouse=True)
def lab(request):
    """Not before pytest starts: whatever runs before has the CPU for itself."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    try:
        with capture.global_and_fixture_disabled():
            bring_up()
    except Problem as problem:
        pytest.fail(f"There is no lab: {problem}", pytrace=False)


@pytest.fixture(scope="session")
def pillar():
    return load(pillar_dir())


@pytest.fixture(scope="session")
def provider():
    return provider_of()


@pytest.fixture(scope="session")
def compiled(pillar):
    """compiled("sip-1"): what that host's states read as pillar['voip']."""
    return lambda host: compile_for(pillar, host, {"provider": "lab"})


@pytest.fixture(scope="session")
def on(provider):
    """on("sip-1", "cat", "/etc/hostname") -> its output; fails when the command fails."""

    def run(host, *argv, stdin=None, timeout=60):
        return provider.run(host, list(argv), stdin=stdin, timeout=timeout).stdout.decode()

    return run


@pytest.fixture(scope="session")
def guest(provider):
    """guest("sip-1", program, *arguments) -> what a Python program printed there, as data."""
    return GuestPython(provider)


@pytest.fixture(scope="session")
def shown(salt):
    """shown(host, name) -> the one fingerprint that all its listeners show."""

    def ask(host, name):
        found = set(salt(host, "voip_tls.shown", name).values())
        assert len(found) == 1, found
        return found.pop()

    return ask


@pytest.fixture(scope="session")
def vault_api(pillar):
    return f"https://{pillar.vault.address}:{pillar.services['openbao']['api'].ports[0]}/v1"


@pytest.fixture(scope="session")
def password_of():
    """password_of("1002"): as the Vault has it now."""
    return lambda number: vault.subscriber_passwords([number])[number]


@pytest.fixture(scope="session")
def salt():
    """salt("sip-1", "test.ping") -> that minion's return."""
    return client.call


@pytest.fixture(scope="module", params=PROXIES, ids=lambda proxy: proxy.name)
def proxy(request):
    """Each proxy in turn."""
    return request.param


@pytest.fixture(scope="module")
def tell_proxy(proxy, salt):
    """tell_proxy("registrations", "1003"): a function of the proxy's module on its host."""
    return lambda function, *arguments: salt("sip-1", f"{proxy.name}.{function}", *arguments)


@pytest.fixture(scope="module")
def ports(compiled, proxy):
    """The proxy's: {"sip-tls": ...}."""
    return compiled("sip-1")["ports"][proxy.name]


@pytest.fixture(scope="module")
def to_proxy(pillar, ports):
    """to_proxy(transport="wss", ...) -> order of tests/lab/sip_probe.py: how to get there."""

    def order(transport="tls", by_ipv6=False, **more):
        return way(pillar, ports, transport, by_ipv6) | {"domain": pillar.site.domain} | more

    return order


def way(pillar, ports, transport, by_ipv6=False):
    """How sip_probe.py gets to a proxy's outside: arguments of its Link. ports: the proxy's."""
    names = {"udp": "sip-udp", "tcp": "sip-tcp", "tls": "sip-tls"}
    host = pillar.hosts["sip-1"]
    return {
        "transport": transport,
        "address": str(host.external_ipv6 if by_ipv6 else host.external),
        "port": ports[names.get(transport, transport)],
        "server_name": pillar.site.proxy_name,
        "ca": ca_file().read_text(),
    }


@pytest.fixture(scope="session")
def ladders(provider, pillar, compiled):
    """ladders.play(devices, steps, proxy): several devices, outside, that speak with each other."""
    ports = compiled("sip-1")["ports"]
    return Ladders(
        provider,
        lambda proxy, transport: way(pillar, ports[proxy], transport),
        vault.subscriber_passwords([item.number for item in pillar.subscribers]),
        [str(host.relay.external) for host in pillar.hosts.values() if host.relay],
        pillar.site.domain,
    )


@pytest.fixture(scope="module")
def ask(on, to_proxy):
    """ask("register", transport="wss", user=...) -> what the probe in a guest reports."""

    def run(what, host="client-1", **order):
        text = json.dumps({"do": what} | to_proxy(**order))
        return json.loads(on(host, "python3", "-", text, stdin=PROBE))

    return run


@pytest.fixture(scope="module")
def called(provider, to_proxy, password_of):
    """with called("1002") as invite: ...: a phone that answers one call; invite() is what came.

    The options are those of sip_probe's do_called.
    """

    @contextlib.contextmanager
    def phone(number, **options):
        provider.put("client-1", "/run/sip_probe.py", PROBE)
        own = {"user": number, "password": password_of(number), "timeout_s": 30}
        order = {"do": "called"} | to_proxy(**own, **options)
        argv = provider.command("client-1", ["python3", "/run/sip_probe.py", json.dumps(order)])
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as device:
            try:
                registered = json.loads(device.stdout.readline())
                assert registered["statuses"][-1][0] == 200, registered
                yield lambda: json.loads(device.communicate(timeout=40)[0])["invite"]
            finally:
                device.kill()

    return phone


@pytest.fixture
def media(pillar, salt):
    """media(call_id) -> (host, legs): the relay that has this call, and its streams."""
    hosts = [name for name, host in pillar.hosts.items() if "media" in host.roles]

    def find(call_id):
        for host in hosts:
            with contextlib.suppress(Exception):
                return host, salt(host, "rtpengine.legs", call_id)
        raise AssertionError(f"no relay knows {call_id}")

    return find


@pytest.fixture(scope="session")
def eventually():
    """eventually(check, seconds) -> check()'s first true value; fails at the deadline."""

    def wait(check, seconds=10.0, pause=0.1):
        deadline = time.monotonic() + seconds
        while True:
            if found := check():
                return found
            assert time.monotonic() < deadline, f"not within {seconds} s: {check}"
            time.sleep(pause)

    return wait
