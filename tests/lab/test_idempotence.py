"""A second state.apply changes nothing on any host, and test=True says so beforehand.

And the other way round: what somebody changed by hand is predicted by test=True, state for state,
and then put back.
"""

import pytest

from voip_stack.master import client


def changed(returned):
    """IDs of the states that changed something, or would."""
    assert isinstance(returned, dict), returned
    return sorted(
        state["__id__"] for state in returned.values() if state["changes"] or not state["result"]
    )


@pytest.fixture(scope="module")
def minions(pillar):
    return pillar.minions()


def test_second_apply_changes_nothing(minions):
    predicted = client.apply(minions, test=True)
    applied = client.apply(minions)
    for job in (predicted, applied):
        assert set(job.returns) == set(minions), f"no answer from {job.silent}"
        assert {host: changed(returned) for host, returned in job.returns.items()} == {
            host: [] for host in minions
        }
    for host in minions:
        assert set(predicted.returns[host]) == set(applied.returns[host])


# Files of each host that somebody may have edited, and what else its repair moves is no concern.
EDITED = {
    "sip-1": ["/etc/kamailio/voip/defines.cfg", "/etc/opensips/voip/modules.cfg"],
    "media-1": ["/etc/rtpengine/rtpengine.conf"],
    "pbx-1": ["/etc/asterisk/voip/pjsip.conf"],
    "devstack": ["/etc/openbao/openbao.hcl"],
}


@pytest.mark.parametrize("host", EDITED)
def test_prediction_agrees_with_what_a_repair_does(host, on):
    before = on(host, "sha256sum", *EDITED[host])
    for path in EDITED[host]:
        on(host, "sh", "-c", f"echo '# edited by hand' >> {path}")
    predicted = changed(client.apply([host], test=True).returns[host])
    repaired = changed(client.apply([host]).returns[host])
    assert predicted, "the edit went unnoticed"
    assert repaired == predicted
    assert on(host, "sha256sum", *EDITED[host]) == before
    assert changed(client.apply([host]).returns[host]) == []
