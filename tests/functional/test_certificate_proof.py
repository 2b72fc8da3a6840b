"""A renewal is done when the daemon shows it, and undone when it does not. The daemon: OpenBao."""

import os
import pathlib
import signal
import socket
import ssl
import tempfile
import threading

import pytest
import voip_handshake
from salt.exceptions import CommandExecutionError

from tests.functional.openbao_certificate import NAME, broken_reload, in_use, pairs, shown
from tests.functional.openbao_server import free_port
from tests.functional.postgresql_server import Server as PostgreSQL


@pytest.fixture(scope="module")
def renewable(provisioned):
    """renewable(): renew by force, as a renewal that became due does."""
    return lambda: provisioned.modules.voip_pki.renew(NAME)


def test_the_first_certificate_was_proven(provisioned):
    assert shown(provisioned) == in_use(provisioned)
    assert len(pairs(provisioned)) == 1
    assert not (provisioned.etc / "tls" / "openbao-bootstrap.crt").exists()


def test_renewed_shown_and_the_former_pair_dropped(provisioned, renewable):
    before = shown(provisioned)
    made = renewable()
    assert shown(provisioned) == in_use(provisioned) != before
    assert len(pairs(provisioned)) == 1
    assert made["proof_s"] < 2


def test_a_renewal_is_predicted(provisioned):
    with provisioned.changed("certificates:openbao:alt_names", ["devstack.voip.test", "voip.test"]):
        predicted = provisioned.states.voip_certificate.managed(NAME, test=True)
    assert predicted.result is None
    assert predicted.changes["certificate"]["old"] == "the names differ"


def test_a_daemon_that_keeps_the_old_one_gets_it_back(provisioned):
    before, kept = in_use(provisioned), pairs(provisioned)
    with (
        provisioned.changed("certificates:openbao:ip_sans", []),
        broken_reload(provisioned),
    ):
        ret = provisioned.states.voip_certificate.managed(NAME)
        assert ret.result is False
        assert ret.changes == {}
    assert "keeps showing another" in ret.comment
    assert "is in use again" in ret.comment
    assert "apply this state again" in ret.comment
    assert "PRIVATE" not in ret.comment
    assert in_use(provisioned) == shown(provisioned) == before
    assert pairs(provisioned) == kept


def test_the_next_run_tries_anew(provisioned):
    before = in_use(provisioned)
    with provisioned.changed("certificates:openbao:ip_sans", []):
        ret = provisioned.states.voip_certificate.managed(NAME)
        assert ret.result is True, ret.comment
        assert "after the reload" in ret.comment
    ret = provisioned.states.voip_certificate.managed(NAME)
    assert ret.result is True, ret.comment
    assert shown(provisioned) == in_use(provisioned) != before


def test_an_address_that_its_daemon_does_not_listen_at_yet_is_not_waited_for(
    provisioned, renewable
):
    before = shown(provisioned)
    listeners = provisioned.pillar["certificates"][NAME]["listeners"]
    with provisioned.changed("certificates:openbao:listeners", [*listeners, ["127.0.0.1", 1]]):
        assert renewable()["proof_s"] < 2
        assert "nothing listens" in provisioned.modules.voip_tls.shown(NAME).values()
    assert shown(provisioned) == in_use(provisioned) != before


def test_an_interrupted_renewal_is_proven_by_the_next_run(provisioned):
    """As after a crash between installing and proving: both pairs are there."""
    with provisioned.changed("certificates:openbao:listeners", [["127.0.0.1", 1]]):
        pki = provisioned.modules.voip_pki
        assert pki.renew(NAME)["proof_s"] is None
    assert len(pairs(provisioned)) == 2
    assert shown(provisioned) != in_use(provisioned)
    states = provisioned.states.voip_certificate
    predicted = states.managed(NAME, test=True)
    done = provisioned.states.voip_certificate.managed(NAME)
    assert (predicted.result, done.result) == (None, True)
    changes = {"proof": {"old": "not shown by its daemon yet", "new": "shown"}}
    assert predicted.changes == done.changes == changes
    assert shown(provisioned) == in_use(provisioned)
    assert len(pairs(provisioned)) == 1
    assert provisioned.states.voip_certificate.managed(NAME).changes == {}


def test_connections_and_handshakes_survive_renewals(provisioned, renewable):
    port = provisioned.pillar["certificates"][NAME]["listeners"][0][1]
    context = ssl.create_default_context(cafile=provisioned.etc / "tls" / "ca.crt")
    done, failures, count = threading.Event(), [], [0]

    def connect():
        return context.wrap_socket(
            socket.create_connection(("127.0.0.1", port), 5), server_hostname="devstack.voip.test"
        )

    def loop():
        while not done.wait(0.01):
            try:
                connect().close()
                count[0] += 1
            except OSError as err:
                failures.append(repr(err))

    with connect() as held:
        thread = threading.Thread(target=loop)
        thread.start()
        # On a busy machine five renewals leave the other thread too little time for the claim.
        for number in range(50):
            if number >= 5 and count[0] > 20:
                break
            renewable()
        done.set()
        thread.join()
        held.sendall(b"GET /v1/sys/health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert held.recv(4096).startswith(b"HTTP/1.1 200")
    assert failures == []
    assert count[0] > 20


def test_minutes_of_life_are_signed_and_renewed_in_time(provisioned, enrolled):
    host = enrolled("sip-1")
    with host.changed("certificates:kamailio:ttl_s", 180):
        made = host.modules.voip_pki.renew("kamailio")
        assert made["life_s"] == 180 + provisioned.pillar["pki"]["backdate_s"]
        assert host.modules.voip_pki.shortcoming("kamailio") is None


def test_a_longer_life_than_the_role_allows_is_cut(provisioned, enrolled):
    host = enrolled("sip-1")
    longest = provisioned.pillar["provisioning"]["sip-1"]["ttl_s"]
    with host.changed("certificates:kamailio:ttl_s", longest * 2):
        try:
            made = host.modules.voip_pki.renew("kamailio")
        except CommandExecutionError as err:
            assert "ttl" in str(err)  # noqa: PT017
        else:
            assert made["life_s"] <= longest + provisioned.pillar["pki"]["backdate_s"]


@pytest.fixture
def open_directory():
    """Not below pytest's own, which is closed to the server's user."""
    with tempfile.TemporaryDirectory(prefix="voip-postgresql-") as path:
        yield pathlib.Path(path)


def test_postgresqls_negotiation(open_directory, provisioned):
    """The handshake begins after a question in the clear (SSLRequest)."""
    tls = provisioned.etc / "tls"
    port = free_port()
    running = PostgreSQL(open_directory, port)
    running.start()
    try:
        with pytest.raises(ConnectionError, match="does not offer TLS"):
            voip_handshake.shown("127.0.0.1", port, negotiation="postgresql")
        running.serve_tls((tls / "openbao.crt").read_text(), (tls / "openbao.key").read_text())
        found = voip_handshake.shown("127.0.0.1", port, negotiation="postgresql")
        assert found == voip_handshake.fingerprint((tls / "openbao.crt").read_text())
    finally:
        running.stop()
    with pytest.raises(ConnectionRefusedError):
        voip_handshake.shown("127.0.0.1", port, negotiation="postgresql")


def test_a_daemon_that_hangs_is_no_proof(provisioned, server):
    """Stopped (SIGSTOP): its port is open, nobody answers there."""
    pid = int((provisioned.etc / "run" / "openbao.pid").read_text())
    os.kill(pid, signal.SIGSTOP)
    try:
        assert shown(provisioned).startswith("no handshake")
        assert provisioned.modules.voip_tls.is_up(NAME) is True
    finally:
        os.kill(pid, signal.SIGCONT)
