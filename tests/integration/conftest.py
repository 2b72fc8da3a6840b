"""A real Salt master and minion on loopback, with the checkout's state tree and its own pillar."""

import shutil
from pathlib import Path

import pytest
from saltfactories.utils import random_string

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def salt_factories_config(tmp_path_factory):
    """Daemons' files below pytest's own directory, not beside it."""
    return {"root_dir": tmp_path_factory.mktemp("salt")}


@pytest.fixture(scope="session")
def pillar_directory(tmp_path_factory):
    """A copy of pillar/ that tests may break (and must mend)."""
    root = tmp_path_factory.mktemp("checkout")
    return Path(shutil.copytree(CHECKOUT / "pillar", root / "pillar"))


@pytest.fixture(scope="session")
def state_directory(pillar_directory):
    """A state directory with something in it that the file server must never give away."""
    state = pillar_directory.parent / ".voip"
    (state / "vault").mkdir(parents=True)
    (state / "vault" / "operator.json").write_text('{"secret_id": "never-served"}')
    return state


@pytest.fixture(scope="session")
def extra_tree(tmp_path_factory):
    """A second file root for SLS files of the tests' own."""
    return tmp_path_factory.mktemp("sls")


@pytest.fixture(scope="session")
def master(salt_factories, pillar_directory, state_directory, extra_tree):
    overrides = {
        "interface": "127.0.0.1",
        "auto_accept": True,  # loopback only, keys of this test run
        "file_roots": {"base": [str(CHECKOUT / "salt"), str(extra_tree)]},
        "pillar_roots": {"base": []},
        "pillar_dirs": [str(CHECKOUT / "_pillar")],
        "worker_threads": 3,
        "ext_pillar": [
            {
                "voip": {
                    "checkout": str(pillar_directory.parent),
                    "state_dir": str(state_directory),
                }
            }
        ],
    }
    factory = salt_factories.salt_master_daemon(random_string("master-"), overrides=overrides)
    with factory.started(start_timeout=120):
        yield factory


@pytest.fixture(scope="session")
def minion(master):
    factory = master.salt_minion_daemon("media-1", overrides={"enable_fqdns_grains": False})
    with factory.started(start_timeout=120):
        yield factory


@pytest.fixture(scope="session")
def salt_cli(master, minion):
    return master.salt_cli(timeout=60)
