"""The web phone's module: where the page registers, what it may load, what it refuses."""

import importlib.util
import subprocess
from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError

CHECKOUT = Path(__file__).parents[2]
VOIP = {
    "site": {"domain": "voip.test", "proxy_name": "sip.voip.test"},
    "ports": {
        "kamailio": {"wss": 8444, "sip-tls": 5071},
        "opensips": {"wss": 8443},
        "webphone": {"https": 8445},
    },
    "self": {
        "components": ["pgbouncer", "kamailio", "webphone"],
        "addresses": {"internal": "192.168.64.10", "external": "198.18.64.10"},
        "ipv6": {"external": "fd64::10"},
    },
}


@pytest.fixture
def webphone():
    spec = importlib.util.spec_from_file_location("webphone", CHECKOUT / "_modules/webphone.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.__pillar__ = {"voip": VOIP}
    return module


def test_the_page_is_told_the_proxies_of_this_host(webphone):
    assert webphone.settings() == {
        "domain": "voip.test",
        "proxies": [{"name": "kamailio", "url": "wss://sip.voip.test:8444"}],
    }


def test_the_page_connects_to_them_and_loads_its_own_files_only(webphone):
    policy = dict(part.split(" ", 1) for part in webphone.content_policy().split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["connect-src"] == "'self' wss://sip.voip.test:8444"


def test_it_listens_outside_only(webphone):
    assert webphone.addresses() == ["198.18.64.10", "[fd64::10]"]


def test_a_refused_configuration_says_why(webphone, monkeypatch, tmp_path):
    monkeypatch.setattr(webphone, "_RUN", str(tmp_path / "run"))
    answer = subprocess.CompletedProcess([], 1, "", 'unknown directive "lisen"')
    monkeypatch.setattr(webphone.subprocess, "run", lambda *_, **__: answer)
    with pytest.raises(CommandExecutionError, match="lisen"):
        webphone.check_config(str(tmp_path))


def test_a_reload_that_did_not_happen_is_told(webphone):
    webphone.__salt__ = {"service.reload": lambda _: False}
    with pytest.raises(CommandExecutionError, match="was not reloaded"):
        webphone.reload()
