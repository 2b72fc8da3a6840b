"""Broken SIP, slow clients and guessed passwords under ten calls: the short run, at each proxy.

`./voip soak malformed` is the test: its 100,000 mutations are run by hand.
"""

from __future__ import annotations

import json
import subprocess

import pytest

from voip_stack import paths

VOIP = str(paths.checkout() / "voip")
# Of both proxies together: 6,000 mutations and 600 bad logins.
MESSAGES = 3000


@pytest.fixture(scope="module")
def report(proxy):
    """Of a soak of that proxy, its progress shown where a test fails."""
    words = ["--proxy", proxy.name, "--messages", str(MESSAGES), "--json"]
    argv = [VOIP, "soak", "malformed", *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=900)
    print(done.stderr)
    assert done.returncode in (0, 1), done.stdout
    return json.loads(done.stdout)


def test_every_promise_is_kept(report):
    """No crash, no leak, no call that failed, nobody served who should not be."""
    assert report["broken"] == [], report["calls"]["failures"]


def test_the_proxy_has_seen_what_was_sent(report):
    """By its own counters: not a gate before it that held all of it back."""
    parsed = report["parsed"]
    assert parsed["rcv_requests"] > MESSAGES
    assert parsed["auth_failed"] > 0
    assert parsed["oversized_refused"] + parsed["malformed_refused"] > 0


def test_guessing_shuts_its_sources_out_and_they_are_let_in_again(report, salt, proxy):
    assert report["banned"] > 0
    assert report["attacks"]["logins"]["tried"] == MESSAGES // 10
    assert salt("sip-1", f"{proxy.name}.bans") == []


def test_it_still_tells_who_is_connected(report, salt, proxy):
    """All that it has noted of a connection goes with it: its answer is no longer than they are."""
    left = salt("sip-1", f"{proxy.name}.connections")
    assert len([row for row in left if "198.18." in row["remote"]]) < 50
