"""docs/network-topology.md says what the pillar says."""

import pytest

from voip_stack import paths
from voip_stack.docs import ports
from voip_stack.pillar import compile_for, load

PILLAR = load(paths.pillar_dir())


def test_committed_tables_are_current():
    text = (paths.checkout() / ports.DOCUMENT).read_text()
    assert text == ports.render(text, PILLAR), "run: python -m voip_stack.docs.ports"


def test_every_firewall_rule_is_in_the_table():
    table = ports.incoming(PILLAR)
    for host in PILLAR.minions():
        for rule in compile_for(PILLAR, host, {"provider": "lab"})["firewall"]:
            row = f"| {host} | {rule['network']} | {rule['ports']} |"
            assert row in table, rule


def test_document_without_markers_is_refused():
    with pytest.raises(ValueError, match="hosts: generated"):
        ports.render("# Network topology\n", PILLAR)
