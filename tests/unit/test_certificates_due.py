"""When a certificate is due, what its host's beacon tells, how often, and when it is silent."""

import datetime
import os
import socket
import sys
from pathlib import Path

import pytest

from voip_stack.events.certificates import Expiring
from voip_stack.paths import pillar_dir
from voip_stack.pillar import load
from voip_stack.pillar.renewal import LOOKS, SLOWEST_S, beacon

CHECKOUT = Path(__file__).parents[2]
sys.path[:0] = [str(CHECKOUT / "_utils"), str(CHECKOUT / "_beacons")]

import voip_certificates  # noqa: E402
import voip_generations  # noqa: E402
import voip_renewal_watch as watching  # noqa: E402
import voip_x509  # noqa: E402

NOW = datetime.datetime.now(datetime.UTC).timestamp()
LIFE_S = 7 * 86400 + 300  # of what voip_x509.self_signed makes
GROUP = "root"


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A host's certificate directory, and its beacon's rules with a memory of their own."""
    monkeypatch.setattr(watching, "_watches", {})

    class Host:
        wanted = {"redis": {"renew_fraction": 0.33, "group": GROUP, "listeners": []}}  # noqa: RUF012
        directory = tmp_path

        def install(self, name="redis"):
            key, pem = voip_x509.new_key()
            chain = voip_x509.self_signed(key, name, [f"{name}.test"], [])
            serial = voip_x509.life(chain)[1]
            generation = voip_generations.put(
                tmp_path, name, serial, chain, pem, 0o600, os.getgid()
            )
            voip_generations.use(tmp_path, name, generation)

        def ask(self, after_s=0.0):
            found = watching.news(str(tmp_path), "sip-1", self.wanted, NOW + after_s)
            return [(item["name"], item["why"]) for item in found]

    return Host()


def test_silent_while_it_is_good(host):
    host.install()
    assert host.ask() == host.ask(LIFE_S * 0.6) == []


def test_told_within_the_first_part_of_its_window(host):
    host.install()
    begin, end = 0.67 * LIFE_S - 300, (0.67 + 0.33 * watching.JITTER) * LIFE_S
    assert host.ask(begin - 60) == []
    assert host.ask(end) == [("redis", "ends")]


def test_told_with_what_is_left(host):
    host.install()
    (told,) = watching.news(str(host.directory), "sip-1", host.wanted, NOW + LIFE_S + 1000)
    assert -1400 < told["left_s"] < 0
    assert Expiring.model_validate(told).name == "redis"


def test_no_two_hosts_in_one_instant():
    found = {watching.due_at((0, 1000), 0.33, f"sip-{number}/kamailio/7f") for number in range(200)}
    assert len(found) == 200
    assert min(found) >= 670
    assert max(found) <= 670 + 330 * watching.JITTER
    assert max(found) - min(found) > 0.9 * 330 * watching.JITTER


def test_the_same_moment_at_each_look():
    assert watching.due_at((0, 9), 0.5, "a") == watching.due_at((0, 9), 0.5, "a")


def test_told_again_with_growing_pauses(host):
    host.install()
    start = int(LIFE_S * 0.8)
    told = [second for second in range(400) if host.ask(start + second)]
    assert told == [0, 5, 15, 35, 75, 135, 195, 255, 315, 375]


@pytest.mark.parametrize(
    ("times", "left_s", "pause_s"),
    [
        (1, 1e7, 5),
        (2, 1e7, 10),
        (5, 1e7, 60),
        (1000, 1e7, 60),
        (1, 60, 5),
        (4, 60, 10),
        (9, 300, 30),
        (9, 0, 10),
        (9, -5000, 10),
    ],
)
def test_pauses(times, left_s, pause_s):
    assert watching.pause_s(times, left_s) == pause_s


def test_another_certificate_begins_anew(host):
    host.install()
    assert host.ask(LIFE_S * 0.8) == [("redis", "ends")]
    host.install()
    assert host.ask(LIFE_S * 0.8 + 1) == [("redis", "ends")], "a new one, and due as well"
    assert host.ask(0) == []


def test_read_once(host, monkeypatch):
    host.install()
    host.ask()
    monkeypatch.setattr(watching.voip_x509, "life", lambda pem: pytest.fail("read again"))
    assert host.ask(1) == []


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_missing_is_told_once_nobody_is_about_to_make_it(host, content):
    if content is not None:
        (host.directory / "redis.crt").write_text(content)
    assert host.ask() == host.ask(watching.SETTLE_S - 1) == []
    assert host.ask(watching.SETTLE_S) == [("redis", "missing")]


def test_not_missing_before_its_package_is_there(host):
    host.wanted = {"redis": host.wanted["redis"] | {"group": "no-such-group"}}
    assert host.ask() == host.ask(watching.SETTLE_S * 2) == []


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield list(server.getsockname())


def test_a_renewal_that_was_interrupted(host, listener):
    host.wanted = {"redis": host.wanted["redis"] | {"listeners": [["127.0.0.1", 1], listener]}}
    host.install()
    host.install()
    assert host.ask() == host.ask(watching.SETTLE_S - 1) == []
    assert host.ask(watching.SETTLE_S) == [("redis", "unproven")]
    voip_generations.drop(host.directory, voip_generations.others(host.directory, "redis"))
    assert host.ask(watching.SETTLE_S * 3) == []


def test_nothing_to_prove_without_a_daemon(host):
    host.wanted = {"redis": host.wanted["redis"] | {"listeners": [["127.0.0.1", 1]]}}
    host.install()
    host.install()
    assert host.ask() == host.ask(watching.SETTLE_S) == []


def test_the_beacon_signs_what_it_tells(host, monkeypatch):
    host.install()
    tls = host.directory / "etc" / "tls"
    tls.parent.mkdir()
    tls.symlink_to(host.directory)
    options = {"voip_stack_dir": str(tls.parent), "id": "sip-1"}
    monkeypatch.setattr(voip_certificates, "__opts__", options, raising=False)
    monkeypatch.setattr(
        voip_certificates.voip_event, "signed", lambda opts, kind, **data: {"data": data}
    )
    due = {"redis": host.wanted["redis"] | {"renew_fraction": 2.0}}
    config = [{"interval": 1}, {"certificates": due}]
    assert voip_certificates.validate(config) == (True, "valid")
    (event,) = voip_certificates.beacon(config)
    assert event["tag"] == "certificate/expiring"
    assert Expiring.model_validate(event["data"]).why == "ends"
    assert voip_certificates.validate([{"interval": 1}])[0] is False


def test_looks_as_often_as_the_shortest_life_needs():
    pillar = load(pillar_dir())
    assert beacon(pillar, "media-1", ["rtpengine"]) is None
    settings = beacon(pillar, "devstack", pillar.components_of("devstack"))
    assert settings["interval"] == SLOWEST_S
    assert set(settings["certificates"]) == {"openbao", "postgresql", "redis", "callstore"}
    short = pillar.certificates["redis"].model_copy(update={"ttl_s": 180})
    other = pillar.model_copy(update={"certificates": pillar.certificates | {"redis": short}})
    settings = beacon(other, "devstack", pillar.components_of("devstack"))
    assert settings["interval"] <= 180 * pillar.pki.renew_fraction / LOOKS
    assert set(beacon(other, "devstack", ["openbao"])["certificates"]) == {"openbao"}
