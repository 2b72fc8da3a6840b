"""What the master's order does on a host, against a real OpenBao that is both Vault and daemon."""

import time

import pytest
import voip_x509
from salt.exceptions import CommandExecutionError

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


def end(host):
    """Give OpenBao a certificate that has ended when this returns."""
    short = host.pillar["certificates"][NAME] | {"ttl_s": 2, "renew_fraction": 0.01}
    with host.changed(f"certificates:{NAME}", short):
        host.modules.voip_pki.renew(NAME)
    (_, ended), _ = voip_x509.life((host.etc / "tls" / f"{NAME}.crt").read_text())
    time.sleep(max(0, ended - time.time()) + 0.5)


def test_the_vaults_own_certificate_is_renewed_after_its_end(provisioned, enrolled, renew):
    """As after a Vault that was sealed for longer than it had left: nobody can verify it."""
    client = enrolled("pbx-1")
    end(provisioned)
    client.forget()
    with pytest.raises(CommandExecutionError, match="expired at this machine's time"):
        client.modules.voip_vault.is_enrolled()
    done, failed = renew()
    assert (done["outcome"], failed) == ("renewed", False), done
    assert client.modules.voip_vault.is_enrolled() is True


def test_its_name_and_our_root_are_verified_still(provisioned, renew):
    end(provisioned)
    with provisioned.changed("vault:name", "another.voip.test"):
        done, failed = renew()
        assert (done["outcome"], done["cause"], failed) == ("failed", "vault", True)
    assert renew()[0]["outcome"] == "renewed"
