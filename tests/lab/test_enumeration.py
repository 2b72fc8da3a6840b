"""Nobody learns which numbers exist: not by the words of an answer, not by how long it takes.

The words are scenarios (tests/lab/scenarios/registration.yaml); here is the time.
"""

from __future__ import annotations

import random
from statistics import median

import pytest

from tests.told import tell
from voip_stack import vault

TOLD = "enumeration: time to refuse a wrong password"
KNOWN = ("1001", "1002")
ROUNDS = 3
# From chance, the area under the ROC curve of whoever tells known from unknown by time alone: its
# standard error, with 42 of each, is 0.06.
NO_BETTER_THAN = 0.25


@pytest.fixture
def refusals(ask, tell_proxy, pillar):
    """refusals() -> [(is known, seconds)] of one round. Its wrong passwords are forgotten after."""
    source, limit = str(pillar.hosts["client-1"].external), pillar.toll.auth_failures.source
    passwords = vault.subscriber_passwords(KNOWN)

    def forget():
        # A ban that is lifted takes the source's wrong passwords with it.
        ask("guess", count=limit + 1, users=["199999"])
        tell_proxy("unban", source)

    def one():
        half = limit // 2 - 1
        users = [KNOWN[number % len(KNOWN)] for number in range(half)]
        users += [f"19{random.randrange(10**4):04d}" for _ in range(half)]
        random.shuffle(users)
        found = ask("time_refusals", users=users)["times"]
        assert {code for _, code, _ in found} == {403}
        forget()
        # A right one takes the user's.
        for user in KNOWN:
            done = ask("register", user=user, password=passwords[user], expires=0)
            assert done["statuses"][-1] == [200, "OK"]
        return [(user in KNOWN, took_s) for user, _, took_s in found]

    forget()
    yield one
    tell_proxy("unban", source)


def area(known, unknown):
    """How often a known user's answer takes longer than an unknown one's (Mann and Whitney)."""
    wins = sum((a > b) + (a == b) / 2 for a in known for b in unknown)
    return wins / (len(known) * len(unknown))


def test_the_time_tells_nothing(refusals, proxy):
    found = [item for _ in range(ROUNDS) for item in refusals()]
    known = [took_s for is_known, took_s in found if is_known]
    unknown = [took_s for is_known, took_s in found if not is_known]
    told = area(known, unknown)
    ms = [f"{1000 * median(times):.2f} ms" for times in (known, unknown)]
    tell(
        TOLD, f"{proxy.name}: known {ms[0]}, unknown {ms[1]}, of {len(known)} each; AUC {told:.2f}"
    )
    assert abs(told - 0.5) < NO_BETTER_THAN
