"""The Vault from nothing to provisioned: fresh, predicted, idempotent; root token gone."""

import json
import stat

import pytest

from tests.functional.conftest import PROVISIONING


def test_test_mode_predicts_everything_on_a_machine_without_a_vault(devstack, server):
    for state, kwargs in PROVISIONING[:8]:
        ret = devstack.states[state](**kwargs, test=True)
        assert ret.result is None, f"{state}: {ret.comment}"
        assert ret.changes
    assert not (devstack.etc / "openbao").exists()


def test_second_run_changes_nothing_in_either_mode(provisioned):
    for test in (True, False):
        for state, kwargs in PROVISIONING:
            ret = provisioned.states[state](**kwargs, test=test)
            assert ret.result is True, f"{state}: {ret.comment}"
            assert ret.changes == {}, state
