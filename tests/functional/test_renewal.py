"""What the master's order does on a host, against a real OpenBao that is both Vault and daemon."""

import time

import pytest

from tests.functional.openbao_certificate import NAME, broken_reload, in_use, pairs, shown
from tests.functional.test_vault_failures import sealed, unreachable


@pytest.fixture
def renew(provisioned):
    """renew(forced=...) as a job of its own: (what it returned, whether the job failed)."""

    def ask(**keywords):
        provisioned.forget()
        done = provisioned.modules.voip_renewal.renew(NAME, **keywords)
        return done, provisioned.has_failed

    return ask


def test_what_is_good_is_left(provisioned, renew):
    before = in_use(provisioned)
    done, failed = renew()
    assert (done["outcome"], failed) == ("good", False)
    assert in_use(provisioned) == shown(provisioned) == before


def test_an_order_renews_what_is_good_too(provisioned, renew):
    before, began = in_use(provisioned), time.time()
    done, failed = renew(forced=True)
    assert (done["outcome"], done["why"], failed) == ("renewed", "ordered", False)
    assert shown(provisioned) == in_use(provisioned) != before
    assert done["proof_s"] <= done["time"] - began
    assert "PRIVATE" not in str(done)


def test_what_has_a_shortcoming_is_renewed_once(provisioned, renew):
    with provisioned.changed(f"certificates:{NAME}:ip_sans", []):
        before = in_use(provisioned)
        done, failed = renew()
        assert (done["outcome"], done["why"], failed) == ("renewed", "the names differ", False)
        assert shown(provisioned) == in_use(provisioned) != before
        assert renew()[0]["outcome"] == "good"


def test_an_interrupted_renewal_is_ended(provisioned, renew):
    with provisioned.changed(f"certificates:{NAME}:listeners", [["127.0.0.1", 1]]):
        provisioned.modules.voip_pki.renew(NAME)
    done, failed = renew()
    assert (done["outcome"], failed) == ("proved", False)
    assert shown(provisioned) == in_use(provisioned)
    assert len(pairs(provisioned)) == 1


def test_a_daemon_that_keeps_the_old_one_fails_the_job(provisioned, renew):
    before = in_use(provisioned)
    with broken_reload(provisioned):
        done, failed = renew(forced=True)
    assert (done["outcome"], done["cause"], failed) == ("failed", "host", True)
    assert "is in use again" in done["why"]
    assert in_use(provisioned) == shown(provisioned) == before


@pytest.mark.parametrize("fail", [sealed, unreachable])
def test_a_vault_that_does_not_sign_is_the_cause(fail, provisioned, server, renew):
    before = in_use(provisioned)
    with fail(provisioned, server):
        done, failed = renew(forced=True)
    assert (done["outcome"], done["cause"], failed) == ("failed", "vault", True)
    assert in_use(provisioned) == shown(provisioned) == before
    assert renew(forced=True)[0]["outcome"] == "renewed"
