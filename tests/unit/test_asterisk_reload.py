"""What Asterisk is told at a renewal, in which order, and who waits meanwhile."""

import importlib.util
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
PORTS = {"sip-tls": 5061, "ami": 5038, "ari": 8088}
NEW, OLD = "ab" * 32, "cd" * 32
BUSY = "no handshake (TimeoutError)"
MANAGERS = [
    "hold 5038 8088",
    "module reload http",
    "module reload manager",
    "release",
]


@pytest.fixture
def asterisk(monkeypatch):
    """The execution module; `done` is what it did, `shows` what its SIP listener shows."""
    monkeypatch.syspath_prepend(str(CHECKOUT / "_utils"))
    path = CHECKOUT / "_modules/asterisk.py"
    spec = importlib.util.spec_from_file_location("reloaded_asterisk", path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    loaded.done, loaded.shows, loaded.busy = [], NEW, []
    say = loaded.done.append
    loaded.__pillar__ = {"voip": {"ports": {"asterisk": PORTS}}}
    loaded.__salt__ = {
        "voip_firewall.hold": lambda ports: say(f"hold {' '.join(map(str, ports))}"),
        "voip_firewall.release": lambda: say("release"),
        "asterisk_users.command": say,
        "voip_pki.fingerprint": lambda _: NEW,
        "voip_tls.shown": lambda _: {
            "192.168.64.30:5061": loaded.busy.pop() if loaded.busy else loaded.shows,
            "192.168.64.30:5038": NEW,
        },
    }
    loaded._HANDSHAKE_S = 0
    return loaded


def test_the_sip_listener_of_our_build_stays(asterisk):
    assert asterisk.reload_certificate() is True
    assert asterisk.done == MANAGERS


def test_a_listener_that_is_only_busy_stays(asterisk):
    asterisk.busy = [BUSY] * 3
    assert asterisk.reload_certificate() is True
    assert (asterisk.done, asterisk.busy) == (MANAGERS, [])


@pytest.mark.parametrize("shows", [OLD, BUSY])
def test_that_of_another_build_is_opened_anew_and_held(asterisk, shows):
    asterisk.shows = shows
    assert asterisk.reload_certificate() is True
    assert asterisk.done == [*MANAGERS, "hold 5061", "module reload res_pjsip.so", "release"]


def test_a_reload_of_everything_holds_all_listeners(asterisk):
    assert asterisk.reload() is True
    assert asterisk.done[0] == "hold 5061 5038 8088"
    assert asterisk.done[-1] == "release"


def test_a_reload_that_fails_holds_nobody(asterisk):
    def refuse(command):
        raise OSError(command)

    asterisk.__salt__["asterisk_users.command"] = refuse
    with pytest.raises(OSError, match="module reload http"):
        asterisk.reload_certificate()
    assert asterisk.done == ["hold 5038 8088", "release"]
