"""Certificates in the lab: what every daemon does with a new one, a bad one."""

import pytest

from voip_stack.certificates.renew import held
from voip_stack.paths import pillar_dir
from voip_stack.pillar import load
from voip_stack.problem import Problem

HELD = held(load(pillar_dir()))
# OpenSIPS does not read the key's file: root lays the key out for it, by tls_tables.py.
READERS = [(host, name) for host, name in HELD if name != "opensips"]


@pytest.mark.parametrize(("host", "name"), READERS)
def test_what_a_daemon_cannot_use_is_undone(host, name, salt, shown, compiled):
    """A key that its daemon may not read: the real reload of a real daemon fails."""
    before = shown(host, name)
    wanted = compiled(host)["certificates"][name] | {"group": "nogroup", "mode": "0600"}
    with pytest.raises(Problem, match="is in use again"):
        salt(host, "voip_pki.renew", name, wanted)
    assert shown(host, name) == before
    assert salt(host, "voip_pki.shortcoming", name) is None
    assert salt(host, "voip_pki.is_unproven", name) is False


@pytest.mark.parametrize(("host", "name"), HELD)
def test_a_new_one_is_shown_at_once(host, name, salt, shown):
    before = shown(host, name)
    made = salt(host, "voip_pki.renew", name)
    assert shown(host, name) != before
    assert made["proof_s"] < 5
