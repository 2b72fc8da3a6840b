"""Another intermediate CA while a call is up: no handshake fails, a killed master goes on."""

import json
import subprocess
import time
from pathlib import Path

import pytest

from tests.lab.killed_master import crash_through
from tests.lab.phones import call, phones, talk
from tests.told import tell
from voip_stack import paths
from voip_stack.certificates import authority, renew
from voip_stack.master import daemon
from voip_stack.up.run import wait_for_minions

TOLD = "the intermediate CA, rotated under handshakes"
PROBER = (Path(__file__).parent / "tls_prober.py").read_text()
DIRECTORY = "/etc/voip-stack/tls"
EVERY_S = 0.1
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
# host, service, whose certificate is shown: who comes in by mutual TLS, from where it comes.
MUTUAL = [("pbx-1", "sip-1", "kamailio", "asterisk"), ("sip-1", "pbx-1", "asterisk", "kamailio")]


class Prober:
    """with Prober(...) as prober: ...; prober.report(): {"done", "failures"} of all listeners."""

    def __init__(self, provider, pillar, compiled):
        self._provider, self._pillar, self._compiled = provider, pillar, compiled
        self._running = []

    def __enter__(self):
        for host in self._pillar.minions():
            if targets := self._targets(host):
                order = {"targets": targets, "directory": DIRECTORY, "every_s": EVERY_S}
                self._provider.put(host, "/run/tls_prober.py", PROBER.encode())
                argv = ["python3", "/run/tls_prober.py", json.dumps(order)]
                self._running.append(
                    subprocess.Popen(
                        self._provider.command(host, argv),
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                    )
                )
        return self

    def __exit__(self, *_):
        for process in self._running:
            process.kill()

    def report(self):
        done, failures = {}, []
        for process in self._running:
            output, _ = process.communicate(timeout=60)  # closes its standard input
            found = json.loads(output)
            done |= found["done"]
            failures += found["failures"]
        return {"done": done, "failures": failures}

    def _targets(self, host):
        found = []
        for name, wanted in self._compiled(host)["certificates"].items():
            found += _listeners(wanted, wanted["listeners"], name)
        for source, to, component, pair in MUTUAL:
            if source == host:
                voip = self._compiled(to)
                wanted = voip["certificates"][component]
                where = [
                    voip["self"]["addresses"]["internal"],
                    voip["ports"][component]["sip-tls"],
                ]
                found += _listeners(wanted, [where], pair)
        return found


def _listeners(wanted, listeners, pair):
    return [
        {
            "address": address,
            "port": port,
            "name": wanted["common_name"],
            "negotiation": wanted["negotiation"],
            "pair": pair,
        }
        for address, port in listeners
    ]


def nothing_failed(report):
    assert report["failures"] == []
    assert len(report["done"]) >= 10
    assert all(count >= 20 for count in report["done"].values()), report["done"]


@pytest.fixture
def prober(provider, pillar, compiled):
    with Prober(provider, pillar, compiled) as running:
        yield running


@pytest.fixture
def authorities(pillar, salt):
    """authorities() -> the intermediate CAs by which all certificates in use are signed."""
    return lambda: {
        entry["authority"]
        for host in {host for host, _ in renew.held(pillar)}
        for entry in salt(host, "voip_pki.inventory")
    }


def test_every_certificate_and_no_handshake(prober, pillar, authorities, salt):
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
    report = prober.report()
    nothing_failed(report)
    (after,) = authorities()
    assert after != before
    found = authority.progress(pillar)
    assert found["phase"] == "stable"
    assert [about["authority"] for about in found["issuers"]] == [after]
    assert salt("sip-1", "kamailio.reaches_peers")
    tell(
        TOLD,
        f"{len(renew.held(pillar))} certificates of another intermediate CA in {took_s:.0f} s; "
        f"{len(report['failures'])} failures of {sum(report['done'].values())} handshakes with "
        f"{len(report['done'])} listeners, 1 held call",
    )


def test_killed_at_its_steps_it_goes_on(prober, pillar, authorities, eventually):
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
    report = prober.report()
    nothing_failed(report)
    (after,) = authorities()
    assert after != before
    assert [about["authority"] for about in authority.progress(pillar)["issuers"]] == [after]
    tell(
        TOLD,
        f"{len(CRASHES)} crashes in one rotation of {took_s:.0f} s; "
        f"{len(report['failures'])} failures of {sum(report['done'].values())} handshakes, "
        f"1 held call",
    )
