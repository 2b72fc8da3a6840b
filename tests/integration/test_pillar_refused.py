"""A bad pillar stops every state run, with file, line and key, and touches nothing."""

import pytest


@pytest.fixture
def broken_pillar(pillar_directory):
    path = pillar_directory / "policies.yaml"
    good = path.read_text()
    path.write_text(good.replace("max_forwards: 70", "max_forwards: many"))
    yield path
    path.write_text(good)


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "touched"


def test_good_pillar_reaches_the_minion(salt_cli):
    # Salt masks pillar values in what commands return; keys are shown.
    ret = salt_cli.run("pillar.keys", "voip:self", minion_tgt="media-1")
    assert {"name", "components", "addresses"} <= set(ret.data)


def test_a_minion_gets_no_other_roles_values(salt_cli):
    ret = salt_cli.run("pillar.keys", "voip", minion_tgt="media-1")
    assert "rtpengine" in ret.data
    assert not {"subscribers", "asterisk", "kamailio", "provisioning"} & set(ret.data)


def test_state_run_is_refused(salt_cli, broken_pillar, extra_tree, marker):
    # A one-state SLS stands in for any: it would write the marker.
    (extra_tree / "mark.sls").write_text(f"Leave a mark:\n  file.touch:\n    - name: {marker}\n")
    ret = salt_cli.run("state.apply", "mark", minion_tgt="media-1")
    text = f"{ret.data} {ret.stdout}"
    assert "pillar/policies.yaml:" in text, text
    assert "routing.max_forwards" in text
    assert "valid integer" in text
    assert not marker.exists()
