"""The file server gives states and extensions, never pillar, keys or the state directory."""

import pytest

FORBIDDEN = [
    "pillar/topology.yaml",
    "../pillar/topology.yaml",
    "../../pillar/topology.yaml",
    "../.voip/vault/operator.json",
    ".voip/vault/operator.json",
    "_modules/../../pillar/vault.yaml",
    "_modules/../../.git/config",
    "../.git/config",
    "../pyproject.toml",
]


def test_what_is_listed(salt_cli):
    ret = salt_cli.run("cp.list_master", minion_tgt="media-1")
    assert "top.sls" in ret.data
    assert any(path.startswith("_modules/") for path in ret.data), "extensions are served"
    for path in ret.data:
        assert ".." not in path
        assert path.split("/")[0] not in ("pillar", ".voip", ".git", "reactor", ".venv"), path
        assert not path.endswith((".key", ".pem", ".json.secret")), path


@pytest.mark.parametrize("path", FORBIDDEN)
def test_what_is_refused(salt_cli, path):
    ret = salt_cli.run("cp.get_file_str", f"salt://{path}", minion_tgt="media-1")
    assert ret.data in (False, None, ""), f"{path} was served"
