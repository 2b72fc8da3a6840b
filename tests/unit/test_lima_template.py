"""Every guest's Lima template, for both architectures, against Lima's documented fields."""

import importlib.util
import subprocess
from pathlib import Path

import pytest
import yaml

from voip_stack import paths
from voip_stack.pillar import Pillar, load
from voip_stack.problem import Problem
from voip_stack.providers.lima import template

PILLAR = load(paths.pillar_dir())
SPEC = importlib.util.spec_from_file_location(
    "lima_schema", Path(__file__).parent / "lima" / "schema.py"
)
HOSTS = PILLAR.minions()
SCHEMA = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(SCHEMA)
LOCK = (paths.checkout() / "requirements" / "minion.lock").read_text()


def rendered(host, arch="arm64", pillar=PILLAR):
    return yaml.safe_load(template.render(pillar, host, arch, LOCK))


def changed(**update):
    """The pillar with keys replaced; nested by double underscore is not needed here."""
    return Pillar.model_validate(PILLAR.model_dump(by_alias=True) | update)


@pytest.mark.parametrize("arch", ["arm64", "amd64"])
@pytest.mark.parametrize("host", HOSTS)
def test_template_has_documented_fields_only(host, arch):
    instance = SCHEMA.Instance.model_validate(rendered(host, arch))
    assert instance.arch == template.LIMA_ARCH[arch]
    assert all(image.digest for image in instance.images), "an image without a digest"


@pytest.mark.parametrize("host", HOSTS)
def test_template_says_what_the_topology_says(host):
    definition = PILLAR.hosts[host]
    guest = rendered(host)
    assert guest["cpus"] == definition.vcpus
    assert guest["memory"] == f"{definition.memory_mib}MiB"
    networks = [network["lima"] for network in guest["networks"]]
    assert networks == ["voip-internal"] + ["voip-external"] * (definition.external is not None)
    plan = yaml.safe_load(guest["provision"][0]["content"])["network"]["ethernets"]
    assert plan["lima0"]["addresses"] == [f"{definition.internal}/24"]
    assert ("lima1" in plan) is (definition.external is not None)


def test_the_pbx_is_on_the_internal_network_only():
    assert [item["lima"] for item in rendered("pbx-1")["networks"]] == ["voip-internal"]


@pytest.mark.parametrize("host", HOSTS)
def test_scripts_are_valid_and_guarded(host):
    guest = rendered(host)
    scripts = [item["script"] for item in guest["provision"] if "script" in item]
    for script in scripts:
        assert "set -eux -o pipefail" in script
    for script in [*scripts, *(probe["script"] for probe in guest["probes"])]:
        assert "__" not in script, "a placeholder was not filled in"
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_the_minions_lock_arrives_whole():
    [lock] = [
        item["content"]
        for item in rendered("sip-1")["provision"]
        if item.get("path") == "/etc/voip-stack/minion.lock"
    ]
    assert lock == LOCK
    assert "--hash=sha256:" in lock


@pytest.mark.parametrize("host", HOSTS)
def test_nothing_secret_and_no_directory_of_the_host(host):
    text = template.render(PILLAR, host, "arm64", LOCK)
    assert "PRIVATE KEY" not in text
    assert rendered(host)["mounts"] == []


def test_devstack_stays_a_guest_where_an_existing_vault_serves():
    """Nothing is installed in it then: it holds the identity that provisions."""
    external = PILLAR.vault.model_dump() | {"external": True}
    assert "devstack" in changed(vault=external).minions()


def test_an_architecture_without_an_image_is_refused():
    lima = {"images": {}, "networks": PILLAR.model_dump()["providers"]["lima"]["networks"]}
    with pytest.raises(Problem, match="no image of bookworm for arm64"):
        template.render(changed(providers={"lima": lima}), "sip-1", "arm64", LOCK)


def test_a_missing_network_is_refused():
    lima = PILLAR.model_dump()["providers"]["lima"] | {"networks": {}}
    with pytest.raises(Problem, match="no internal network"):
        template.render(changed(providers={"lima": lima}), "sip-1", "arm64", LOCK)


def test_text_that_lima_would_expand_is_refused():
    with pytest.raises(Problem, match="expand"):
        template.render(PILLAR, "sip-1", "arm64", "salt=={{.Name}}\n")
