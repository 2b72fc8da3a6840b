"""Many registrations at once, at each proxy: told to wait, then let in; its restart forgets none.

`./voip bench registrations` is the test: 100,000 contacts are run by hand.
"""

from __future__ import annotations

import json
import subprocess

import pytest

from voip_stack import paths

VOIP = str(paths.checkout() / "voip")
CONTACTS = 40


@pytest.fixture(scope="module")
def found(proxy):
    """{name: value} of the bench with few contacts, all of one address."""
    argv = [VOIP, "bench", "registrations", "--contacts", str(CONTACTS), "--proxy", proxy.name]
    argv.append("--json")
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=600)
    print(done.stderr)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)["results"]
    print(json.dumps(results, indent=1))
    return {item["name"].strip(): item["value"] for item in results}


def test_a_storm_is_answered_shed_and_over(found):
    assert found["registered"] == CONTACTS
    assert found["answered 503"] > 0
    assert found["answered 503"] == found["answered 503 by the proxy's own count"]
    assert found["without Retry-After"] == 0
    assert found["without an answer"] == 0


def test_calls_are_not_shed(found):
    assert found["calls meanwhile"] > 0
    assert found["calls that failed"] == 0


def test_a_restart_comes_back_with_its_contacts(found):
    """And perhaps with one more: who left while the database was away has a row until it ends."""
    assert found["contacts before a restart"] >= CONTACTS
    assert found["after it"] >= found["contacts before a restart"]


def test_nobody_was_taken_for_a_flood_and_nothing_is_left(found, proxy, tell_proxy, on):
    assert tell_proxy("bans") == []
    of_bench = f"{proxy.locations} where user_agent = 'voip-bench-registrations'"
    query = f"select count(*) from {of_bench}"  # noqa: S608
    argv = ["runuser", "-u", "postgres", "--", "psql", "-XtAc", query, "kamailio"]
    assert on("devstack", *argv).strip() == "0"
