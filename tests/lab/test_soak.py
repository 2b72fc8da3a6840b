"""Certificates replaced again and again under calls: the short runs of what the README promises.

`./voip soak` and `./voip bench reloads` are the tests: their whole length is run by hand.
"""

from __future__ import annotations

import json
import subprocess

import pytest

from voip_stack import paths
from voip_stack.certificates.renew import held
from voip_stack.pillar import trial

VOIP = str(paths.checkout() / "voip")
SOAK_MINUTES, SEALED_MINUTES = "3", "1"
RELOADS = 100


def soak(*words):
    """The report of a soak, its progress shown where the test fails."""
    argv = [VOIP, "soak", *words, "--json"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=1500)
    print(done.stderr)
    assert done.returncode in (0, 1), done.stdout
    return json.loads(done.stdout)


def broken(report):
    """The promises that were not kept, and what failed."""
    return report["broken"] + [str(failure) for failure in report["handshakes"]["failures"]]


# The life of a host's certificates, seconds, by file.
LIVES = """
from cryptography import x509
found = {}
for path in arguments:
    leaf = x509.load_pem_x509_certificates(open(path, "rb").read())[0]
    life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    found[path] = life.total_seconds()
print(json.dumps(found))
"""


@pytest.fixture
def ordinary(guest, pillar, compiled):
    """Afterwards every certificate lives as long as pillar says, and no trial is on."""
    yield
    assert trial.read(paths.state_dir()) is None
    for host, name in held(pillar):
        path = f"/etc/voip-stack/tls/{name}.crt"
        wanted_s = compiled(host)["certificates"][name]["ttl_s"]
        assert guest(host, LIVES, path)[path] >= wanted_s


def test_certificates_of_three_minutes_are_renewed_under_calls(ordinary):
    report = soak("certificates", "--minutes", SOAK_MINUTES)
    assert broken(report) == []
    assert report["life_s"] == 180
    assert report["calls"]["made"] > 0
    assert min(item["renewed"] for item in report["certificates"]) >= 1


def test_a_sealed_vault_after_a_soak_that_was_killed(ordinary, eventually):
    """What the killed run left is taken back by the next one."""
    process = subprocess.Popen(
        [VOIP, "soak", "certificates"], stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        eventually(lambda: trial.read(paths.state_dir()), 60)
    finally:
        process.kill()
        process.wait(10)
    status = subprocess.run([VOIP, "status"], capture_output=True, text=True, check=False)
    assert "trial: every certificate lives 180 s" in status.stdout

    report = soak("sealed", "--minutes", SEALED_MINUTES)
    assert broken(report) == []
    assert report["sealed"]["for_s"] >= 60 * int(SEALED_MINUTES)
    assert all(item["caught_up_s"] is not None for item in report["certificates"])


def test_reloads_in_a_row_are_noticed_by_nobody():
    """Half of what the bench does of itself: enough to see a leak of 50 KiB a reload."""
    argv = [VOIP, "bench", "reloads", "--rounds", str(RELOADS), "--json"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=2400)
    print(done.stderr, done.stdout)
    assert done.returncode == 0
    report = json.loads(done.stdout)
    assert report["rounds"] == RELOADS
    assert [item for item in report["results"] if item["met"] is False] == []
