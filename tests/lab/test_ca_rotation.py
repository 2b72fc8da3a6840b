"""Another intermediate CA while a call is up: no handshake fails, a killed master goes on."""

import subprocess
import time

import pytest

from tests.lab.killed_master import crash_through
from tests.lab.phones import call, phones, talk
from tests.told import tell
from voip_stack import paths
from voip_stack.certificates import authority, renew
from voip_stack.master import daemon
from voip_stack.pillar.components import PROXIES
from voip_stack.soak.handshakes import Handshakes
from voip_stack.up.run import wait_for_minions

TOLD = "the intermediate CA, rotated under handshakes"
EVERY_S = 0.2
RUN_S = 600
SALT_RUN = [str(paths.checkout() / ".venv/bin/salt-run"), "-c", str(paths.master_dir())]
ROTATE = [*SALT_RUN, "state.orchestrate", "orch.rotate_ca"]
# Where the master is killed: a job that has just been published, by its function and argument.
CRASHES = [
    ("voip_vault_authority.advance", "make"),
    ("voip_vault_authority.advance", "switch"),
    ("voip_renewal.renew", "postgresql"),
    ("voip_vault_authority.advance", "withdraw"),
]
# Who knows the other by mutual TLS.
MUTUAL = [
    ("pbx-1", "asterisk", "sip-1", "kamailio", "sip-tls"),
    ("sip-1", "kamailio", "pbx-1", "asterisk", "sip-tls"),
    ("pbx-1", "asterisk", "sip-1", "opensips", "sip-tls"),
]


def nothing_failed(watch):
    """Of all listeners, each shaken often. Returns how that is told."""
    assert watch.failures == []
    assert watch.dead() == []
    assert len(watch.done) == watch.listeners() >= 10
    assert all(count >= 20 for count in watch.done.values()), watch.done
    return (
        f"{watch.failed} failures of {sum(watch.done.values())} handshakes with "
        f"{len(watch.done)} listeners, 1 held call"
    )


@pytest.fixture
def watch(provider, pillar):
    with Handshakes(pillar, provider, 3 * RUN_S, EVERY_S, MUTUAL) as running:
        yield running


@pytest.fixture
def authorities(pillar, salt):
    """authorities() -> the intermediate CAs by which all certificates in use are signed."""
    return lambda: {
        entry["authority"]
        for host in {host for host, _ in renew.held(pillar)}
        for entry in salt(host, "voip_pki.inventory")
    }


def test_every_certificate_and_no_handshake(watch, pillar, authorities, salt):
    (before,) = authorities()
    with phones() as dialogue:
        call(dialogue)
        started = time.monotonic()
        done = subprocess.run(
            ROTATE,
            capture_output=True,
            text=True,
            timeout=RUN_S,
            check=False,
        )
        took_s = time.monotonic() - started
        assert done.returncode == 0, done.stdout[-3000:]
        talk(dialogue, 3)
    with phones() as dialogue:
        call(dialogue)
        talk(dialogue, 3)
    said = nothing_failed(watch)
    (after,) = authorities()
    assert after != before
    found = authority.progress(pillar)
    assert found["phase"] == "stable"
    assert [about["authority"] for about in found["issuers"]] == [after]
    for proxy in PROXIES:
        assert salt("sip-1", f"{proxy}.reaches_peers")
    count = len(renew.held(pillar))
    tell(TOLD, f"{count} certificates of another intermediate CA in {took_s:.0f} s; {said}")


def test_killed_at_its_steps_it_goes_on(watch, pillar, authorities, eventually):
    """kill -9 of the master while a step runs: started again, it goes on by itself."""
    (before,) = authorities()
    with phones() as dialogue:
        call(dialogue)
        started = time.monotonic()
        try:
            crash_through(ROTATE, CRASHES, RUN_S, by_itself_s=5.0)
        finally:
            daemon.start()
            wait_for_minions(pillar, lambda _: None)
        eventually(lambda: authority.progress(pillar)["phase"] == "stable", RUN_S, 2)
        took_s = time.monotonic() - started
        talk(dialogue, 3)
    said = nothing_failed(watch)
    (after,) = authorities()
    assert after != before
    assert [about["authority"] for about in authority.progress(pillar)["issuers"]] == [after]
    tell(TOLD, f"{len(CRASHES)} crashes in one rotation of {took_s:.0f} s; {said}")
