"""Each proxy answers the same: the scenarios of tests/lab/scenarios, played from outside to both.

What they answered is told as a table at the end.
"""

from __future__ import annotations

import pytest

from tests.lab import scenarios
from tests.lab.proxies import PROXIES
from tests.told import tell
from voip_stack import vault

SCENARIOS = list(scenarios.read())
TOLD = "conformance: scenarios and what each proxy answered"


@pytest.fixture(scope="module")
def passwords(pillar):
    return vault.subscriber_passwords([item.number for item in pillar.subscribers])


@pytest.fixture(scope="module")
def known(pillar, ports):
    """What {word} stands for in a scenario."""
    hosts = pillar.hosts
    return {
        "domain": pillar.site.domain,
        "proxy": str(hosts["sip-1"].external),
        "port": str(ports["sip-tls"]),
        "client": str(hosts["client-1"].external),
        "media": str(hosts["media-1"].internal),
        "pbx": str(hosts["pbx-1"].internal),
        "long": "a" * pillar.routing.max_message_bytes,
    }


@pytest.fixture(scope="module")
def results():
    """{(topic, name, proxy): what came}; told as a table when all have run."""
    found = {}
    yield found
    names = [proxy.name for proxy in PROXIES]
    tell(TOLD, " | ".join(["topic: scenario", *names]))
    for item in SCENARIOS:
        cells = [found.get((item.topic, item.name, name), "not run") for name in names]
        tell(TOLD, " | ".join([f"{item.topic}: {item.name}", *cells]))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda item: f"{item.topic}: {item.name}")
def test_scenario(scenario, proxy, ask, ladders, known, passwords, salt, tell_proxy, results):
    before = tell_proxy("counters") if scenario.counts else {}
    if scenario.ladder is None:
        found = ask(**scenario.order(known, passwords))
    else:
        for number in ("1001", "1002", "1003"):
            proxy.forget_calls(salt, number)
        found = ladders.play(scenario.devices, scenario.steps(), proxy.name)
    wrong = scenarios.problem(scenario, found)
    results[scenario.topic, scenario.name, proxy.name] = wrong or scenario.expectation
    assert wrong is None
    if scenario.counts:
        grown = tell_proxy("counters")[scenario.counts] - before[scenario.counts]
        assert grown == 1, scenario.counts
