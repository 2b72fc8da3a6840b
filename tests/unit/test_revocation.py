"""Revocation lists as data; who refreshes them and when; what a stale one leads to."""

import datetime
import json
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from voip_stack.certificates import revocation
from voip_stack.events import dispatch
from voip_stack.master import client
from voip_stack.paths import pillar_dir
from voip_stack.pillar import load
from voip_stack.pillar.schedule import compile_schedule
from voip_stack.problem import Problem

sys.path[:0] = [str(Path(__file__).parents[2] / "_utils")]

import voip_kamailio  # noqa: E402
import voip_revocation  # noqa: E402
import voip_x509  # noqa: E402

NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
DAY = datetime.timedelta(days=1)


class Authority:
    """A self-signed CA that makes lists."""

    def __init__(self, name):
        self.key, _ = voip_x509.new_key()
        self.pem = voip_x509.self_signed(self.key, name, [], [], days=100)
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

    def crl(self, number=1, begins=NOW - DAY, ends=NOW + DAY, revoked=(), key=None):
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        made = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.name)
            .last_update(begins)
            .next_update(ends)
            .add_extension(x509.CRLNumber(number), critical=False)
            .add_extension(identifier, critical=False)
        )
        for serial in revoked:
            item = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(begins)
            made = made.add_revoked_certificate(item.build())
        signed = made.sign(key or self.key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM).decode()


@pytest.fixture(scope="module")
def root():
    return Authority("root")


@pytest.fixture(scope="module")
def other():
    return Authority("other")


def problem(root, **about):
    return voip_revocation.problem(root.crl(**about), root.pem, root.pem, NOW)


def test_a_good_list_has_no_problem(root):
    assert problem(root) is None


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"ends": NOW - DAY / 2}, "it ended on"),
        ({"begins": NOW + DAY / 2}, "in the future of this machine's clock"),
    ],
)
def test_its_time_must_be_now(root, about, words):
    assert words in problem(root, **about)


def test_its_signature_must_be_its_issuers(root, other):
    assert "signature" in problem(root, key=other.key)
    assert "signature" in voip_revocation.problem(other.crl(), root.pem, root.pem, NOW)


def test_its_issuer_must_be_of_our_root(root, other):
    assert "root CA" in voip_revocation.problem(other.crl(), other.pem, root.pem, NOW)
    assert "cannot be read" in voip_revocation.problem("rubbish", root.pem, root.pem, NOW)


def test_one_file_in_one_order(root, other):
    a, b = root.crl(), other.crl(revoked=[7])
    text = voip_revocation.join([a, b])
    assert text == voip_revocation.join([b, a]) == voip_revocation.join([text])
    assert len(voip_revocation.lists(text)) == 2
    assert voip_revocation.revoked(text) == ["7"]


def test_older_by_time_then_by_number(root):
    assert voip_revocation.older(root.crl(2), root.crl(3)) == ["CN=root"]
    assert voip_revocation.older(root.crl(3), root.crl(3)) == []
    # A Vault from a backup counts anew; a replayed list has an old time.
    assert voip_revocation.older(root.crl(1, begins=NOW - DAY / 2), root.crl(3)) == []
    assert voip_revocation.older(root.crl(4, begins=NOW - 2 * DAY), root.crl(3)) == ["CN=root"]
    assert voip_revocation.older(root.crl(1), "") == []


def test_the_difference_says_what_the_lists_say_of_themselves(root, other):
    before, after = root.crl(1), voip_revocation.join([root.crl(2, revoked=[5]), other.crl()])
    assert voip_revocation.difference(before, after) == {
        "CN=root": {"old": "number 1, 0 revoked", "new": "number 2, 1 revoked"},
        "CN=other": {"old": None, "new": "number 1, 0 revoked"},
    }
    assert voip_revocation.difference(after, before)["CN=other"]["new"] is None
    assert voip_revocation.difference(after, after) == {}


def test_the_list_that_ends_first_counts(root, other):
    text = voip_revocation.join([root.crl(), other.crl(ends=NOW + 9 * DAY)])
    assert voip_revocation.ends(text) == NOW + DAY
    assert voip_revocation.life_left(text, NOW) == pytest.approx(0.5)
    assert voip_revocation.life_left(text, NOW + 2 * DAY) == 0
    assert voip_revocation.life_left("", NOW) == 0
    assert voip_revocation.ends("") is None


def test_the_proxy_checks_inside_only_and_only_with_a_file():
    voip = {"ports": {"kamailio": {"sip-tls": 1, "wss": 2}}}
    voip["self"] = {"addresses": {"internal": "192.168.64.10"}}
    text = voip_kamailio.tls_config(voip, crl="/x/kamailio.crl")
    outside, *inside = text.split("\n[")[1:]
    assert outside.startswith("server:default")
    assert "crl" not in outside
    assert len(inside) == 3
    assert all("crl = /x/kamailio.crl" in section for section in inside)
    assert voip_kamailio.revocation_file(text) == "/x/kamailio.crl"
    assert voip_kamailio.revocation_file(voip_kamailio.tls_config(voip)) is None


# --------------------------------------------------------------------- who refreshes, and when


@pytest.fixture(scope="module")
def pillar():
    return load(pillar_dir())


def test_only_who_checks_has_a_schedule(pillar):
    assert compile_schedule(pillar, "pbx-1", pillar.components_of("pbx-1")) == {}
    assert compile_schedule(pillar, "sip-1", []) == {}
    job = compile_schedule(pillar, "sip-1", pillar.components_of("sip-1"))["voip_crl"]
    assert job["function"] == "voip_crl.scheduled"
    assert job["seconds"] == pillar.pki.crl_refresh_s
    assert revocation.checking(pillar) == ["sip-1"]


def test_who_does_not_refresh_is_named(pillar, monkeypatch):
    answers = client.Job(returns={"sip-1": "Traceback\nUnavailable: no answer"}, failed={"sip-1"})
    monkeypatch.setattr(client, "run", lambda hosts, function, **_: answers)
    with pytest.raises(Problem, match="sip-1"):
        revocation.refresh(pillar)
    monkeypatch.setattr(client, "run", lambda hosts, function, **_: client.Job())
    with pytest.raises(Problem, match="does not answer"):
        revocation.refresh(pillar)
    answers = client.Job(returns={"sip-1": {}})
    monkeypatch.setattr(client, "run", lambda hosts, function, **_: answers)
    assert revocation.refresh(pillar) == ["sip-1"]
    assert revocation.refresh(pillar, without="sip-1") == []


@pytest.mark.parametrize("kind", ["revocation/stale", "revocation/unchecked"])
def test_a_host_without_newer_lists_is_an_alert(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("VOIP_STATE_DIR", str(tmp_path))
    assert dispatch.handle("sip-1", kind, {"detail": "kamailio: its list ends"}) == "done"
    assert dispatch.handle("sip-1", kind, {"detail": "two\nlines"}) == "refused"
    (entry,) = map(json.loads, (tmp_path / "events/alerts.jsonl").read_text().splitlines())
    assert (entry["kind"], entry["host"]) == (kind, "sip-1")
