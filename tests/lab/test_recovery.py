"""What goes wrong gives a clear error and leaves a state from which `./voip up` recovers.

Each test breaks one thing, looks at what an operator would see, mends what no program can (a full
disk, a dead mirror), runs `./voip up` and asks whether all is well. What ran goes on running.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess

import pytest

from voip_stack import paths
from voip_stack.master import client
from voip_stack.master.results import parse

UP_S = 600
CERTIFICATE = "/etc/voip-stack/tls/kamailio.crt"
VOIP = str(paths.checkout() / "voip")


@pytest.fixture(autouse=True)
def well_before_and_after():
    assert_well()
    yield
    assert_well()


def voip(*words, timeout=UP_S, environment=None):
    return subprocess.run(
        [VOIP, *words],
        env=os.environ | (environment or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def up():
    """Run `./voip up`; its summary. Fails with what it said."""
    done = voip("up", "--yes", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def begin_up():
    """Start `./voip up` as the leader of a process group, as a terminal has it."""
    return subprocess.Popen(
        [VOIP, "up", "--yes"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def assert_well():
    done = voip("status", timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def failures(host):
    """Apply the host's states, which must fail; {state ID: comment}."""
    job = client.apply([host], deadline_s=300)
    assert job.silent == []
    result = parse(host, job.returns[host])
    assert result.failures, f"nothing failed on {host}"
    return {failure.state_id: failure.comment for failure in result.failures}


@pytest.fixture
def goes_on(on):
    """check = goes_on("sip-1", "kamailio"); later check(): the unit is still the same process."""

    def pid(host, unit):
        return on(host, "systemctl", "show", "--property=MainPID", "--value", unit).strip()

    def remember(host, unit):
        before = pid(host, unit)

        def check():
            assert pid(host, unit) == before != "0", f"{unit} of {host} did not go on"

        return check

    return remember


def drop_certificate(on, host):
    """Take a certificate away, so that a state needs the Vault. The running proxy has its own."""
    on(host, "mv", CERTIFICATE, f"{CERTIFICATE}.taken")


def test_missing_vault(on, goes_on, pillar):
    check = goes_on("sip-1", "kamailio.service")
    drop_certificate(on, "sip-1")
    on("devstack", "systemctl", "stop", "openbao.service")
    try:
        comment = failures("sip-1")["Certify Kamailio"]
        assert f"the Vault at https://{pillar.vault.address}" in comment
        assert "does not answer" in comment
        status = voip("status", timeout=60)
        assert status.returncode == 1
        assert "inactive" in status.stdout
    finally:
        summary = up()
    check()
    assert "Run OpenBao" in summary["hosts"]["devstack"]["changed"]
    assert on("sip-1", "openssl", "x509", "-noout", "-subject", "-in", CERTIFICATE)


def test_sealed_vault(on, goes_on, salt):
    check = goes_on("sip-1", "kamailio.service")
    drop_certificate(on, "sip-1")
    drop_in = "/run/systemd/system/openbao.service.d"
    on("devstack", "mkdir", "-p", drop_in)
    on("devstack", "tee", f"{drop_in}/sealed.conf", stdin=b"[Service]\nExecStartPost=\n")
    on("devstack", "systemctl", "daemon-reload")
    try:
        on("devstack", "systemctl", "restart", "openbao.service")
        assert salt("devstack", "voip_vault.status")["sealed"] is True
        assert "sealed" in failures("sip-1")["Certify Kamailio"].lower()
        status = voip("status", timeout=60)
        assert status.returncode == 1
        assert "sealed" in status.stdout
    finally:
        on("devstack", "rm", "-r", drop_in)
        on("devstack", "systemctl", "daemon-reload")
        up()
    check()
    assert salt("devstack", "voip_vault.status")["sealed"] is False


def test_full_disk(on, goes_on):
    """The directory of the proxy's configuration is on a file system without a free byte."""
    check = goes_on("sip-1", "kamailio.service")
    directory, beside = "/etc/kamailio", "/run/voip-kamailio"
    file = f"{directory}/voip/defines.cfg"
    wanted = on("sip-1", "sha256sum", file)
    on("sip-1", "cp", "-a", directory, beside)
    on("sip-1", "mount", "-t", "tmpfs", "-o", "size=1m,mode=0755", "full", directory)
    try:
        on("sip-1", "cp", "-aT", beside, directory)
        on("sip-1", "sed", "-i", "$d", file)  # drift, which the state has to mend
        fill = f"cat /dev/zero > {directory}/fill; sync; df {directory}"
        on("sip-1", "sh", "-c", f"{fill} 2>/dev/null")
        comments = failures("sip-1")
        assert any("No space left on device" in text for text in comments.values()), comments
        assert on("sip-1", "sha256sum", file) != wanted, "it was mended without space"
        check()
        on("sip-1", "rm", f"{directory}/fill")
        up()
        assert on("sip-1", "sha256sum", file) == wanted
    finally:
        on("sip-1", "umount", directory)
        on("sip-1", "rm", "-r", beside)


def test_dead_mirror(on, goes_on):
    """A package is missing and the archive does not answer."""
    check = goes_on("pbx-1", "asterisk.service")
    package, dead = "asterisk-core-sounds-en-gsm", "/etc/apt/apt.conf.d/99dead"
    on("pbx-1", "sh", "-c", "rm -f /var/cache/apt/archives/asterisk-core-sounds*")
    on("pbx-1", "dpkg", "--purge", "--force-depends", package)
    lines = (
        b'Acquire::http::Proxy "http://127.0.0.1:9";\nAcquire::https::Proxy "http://127.0.0.1:9";\n'
    )
    on("pbx-1", "tee", dead, stdin=lines)
    try:
        comment = failures("pbx-1")["Install Asterisk"]
        assert "127.0.0.1" in comment, comment
    finally:
        on("pbx-1", "rm", dead)
        up()
    check()
    assert "install ok installed" in on("pbx-1", "dpkg-query", "-W", "-f", "${Status}", package)


def test_dead_mirror_of_the_host(provider, tmp_path):
    """A fresh checkout with an empty cache, and an archive that does not answer."""
    proxy = f"http://{provider.master_address}:9"  # this host, where nothing listens
    configuration = tmp_path / "apt.conf"
    configuration.write_text(
        f'Acquire::http::Proxy "{proxy}";\nAcquire::https::Proxy "{proxy}";\n'
        'Acquire::Retries "0";\n'
    )
    elsewhere = {
        "APT_CONFIG": str(configuration),
        "VOIP_STATE_DIR": str(tmp_path / "state"),
        "VOIP_CACHE_DIR": str(tmp_path / "cache"),
    }
    try:
        done = voip("up", "--yes", environment=elsewhere)
        assert done.returncode == 1, done.stderr
        assert "the package mirror did not deliver" in done.stderr
        assert "run the same command again" in done.stderr
        assert "kamailio is not available" in done.stderr
        assert not list((tmp_path / "cache").glob("images/*")), "a half-made image is kept"
    finally:
        assert voip("destroy", "--yes", environment=elsewhere).returncode == 0


def test_malformed_pillar_touches_no_host():
    jobs = paths.master_dir() / "cache/jobs"
    before = {path.name for path in jobs.glob("*/*")}
    broken = paths.pillar_dir() / "zz-recovery-test.yaml"
    broken.write_text("# a test's; see tests/lab/test_recovery.py\nkamailo: {children: 2}\n")
    try:
        done = voip("up", "--yes")
    finally:
        broken.unlink()
    assert done.returncode == 4
    assert "pillar/zz-recovery-test.yaml:2: kamailo: no such key" in done.stderr
    assert "no host was touched" in done.stderr
    assert {path.name for path in jobs.glob("*/*")} == before


def test_interrupted_up_goes_on():
    """Ctrl-C while Salt converges: said so, nothing half done that the next run cannot use."""
    process = begin_up()
    said = ""
    try:
        for line in process.stderr:
            said += line
            if "Converge the hosts" in line:
                break
        os.killpg(process.pid, signal.SIGINT)
        said += process.stderr.read()
        code = process.wait(timeout=60)
    finally:
        process.kill()
    assert code == 130, said
    assert "interrupted" in said
    assert "run the same command to go on" in said
    assert voip("status", timeout=60).returncode == 1  # not converged
    assert up()["ok"] is True


def test_terminated_up_frees_its_lock():
    """A killed run leaves no lock that a later one would wait for."""
    process = begin_up()
    for line in process.stderr:
        if "Wait for the minions" in line or "Converge the hosts" in line:
            break
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=10)
    assert up()["ok"] is True
