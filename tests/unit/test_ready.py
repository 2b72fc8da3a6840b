"""The proxy is ready when it reaches every relay and PBX."""

import importlib.util

import pytest
from salt.exceptions import CommandExecutionError

from voip_stack import paths

_SPEC = importlib.util.spec_from_file_location(
    "voip_ready_module", paths.checkout() / "_modules/voip_ready.py"
)
voip_ready = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(voip_ready)

RELAY = "udp:192.168.64.20:22222"


@pytest.fixture
def proxy(monkeypatch):
    """Answers of the proxy, one list item for each time that it is asked."""

    def answer(*rounds, pbx="active"):
        left = list(rounds)

        def rpc(method, *params):
            if method == "rtpengine.ping":
                return {"status": "fail"}
            found = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(found, Exception):
                raise found
            return [{"url": RELAY, "active": found}]

        functions = {
            "kamailio.rpc": rpc,
            "kamailio.dispatchers": lambda: [{"uri": "sip:pbx", "state": pbx}],
        }
        monkeypatch.setattr(voip_ready, "__salt__", functions, raising=False)
        monkeypatch.setattr(voip_ready, "PAUSE_S", 0)

    return answer


def test_ready_at_once(proxy):
    proxy(True)
    assert voip_ready.proxy() is True


def test_a_relay_that_comes_late_and_a_proxy_that_starts_are_waited_for(proxy):
    proxy(CommandExecutionError("the proxy is not running"), False, True)
    assert voip_ready.proxy() is True


def test_what_stays_away_is_named(proxy):
    proxy(False, pbx="inactive")
    with pytest.raises(CommandExecutionError, match=f"relay {RELAY}, PBX sip:pbx"):
        voip_ready.proxy(timeout_s=0)
