"""Two proxies beside each other: each finds who is registered at the other, and outlives it."""

from __future__ import annotations

import time

import pytest

from tests.lab.phones import call, phones, talk
from tests.lab.proxies import PROXIES
from tests.told import tell
from voip_stack import vault

TOLD = "two proxies: one is killed"


@pytest.mark.parametrize("callee_proxy", PROXIES, ids=lambda proxy: f"to {proxy.name}")
def test_whoever_registered_where_is_found(proxy, callee_proxy):
    """The callee rings, and both hear each other."""
    with phones(proxy=proxy.name, callee_proxy=callee_proxy.name) as dialogue:
        call(dialogue)
        talk(dialogue, 1.5)


def test_one_that_is_killed_takes_no_call_of_the_other(proxy, ask, on, eventually):
    """A call that goes on is heard throughout; who registers anew is called again."""
    (other,) = (item for item in PROXIES if item != proxy)
    (password,) = vault.subscriber_passwords(["1003"]).values()

    def registers():
        found = ask("register", user="1003", password=password, timeout_s=2)
        return found.get("statuses", [None])[-1] == [200, "OK"]

    with phones(proxy=other.name) as dialogue:
        call(dialogue)
        on("sip-1", "systemctl", "kill", "--signal=KILL", proxy.name)
        killed = time.monotonic()
        eventually(registers, 60)
        took_s = time.monotonic() - killed
        talk(dialogue, 2)
    with phones(proxy=other.name, callee_proxy=proxy.name) as dialogue:
        call(dialogue)
        talk(dialogue, 1.5)
    said = (
        "the call by {} was heard both ways; a device registers and is called again after {:.1f} s"
    )
    tell(TOLD, f"{proxy.name}: " + said.format(other.name, took_s))
