"""The lab, brought up when the first test begins: its provider, its pillar, Salt's answers as data.

Nothing here skips: where the lab does not come up, each of its tests fails with the reason.
"""

from __future__ import annotations

import contextlib
import time

import pytest

from tests.lab.guest_python import GuestPython
from voip_stack.cli.hosts import provider_of
from voip_stack.master import client
from voip_stack.paths import pillar_dir
from voip_stack.pillar import compile_for, load
from voip_stack.problem import Problem
from voip_stack.testing import bring_up


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
def salt():
    """salt("sip-1", "test.ping") -> that minion's return."""
    return client.call


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
