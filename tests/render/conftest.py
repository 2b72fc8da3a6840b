"""A masterless minion of any host, for any provider and pillar: what Salt itself makes of them."""

import functools
import json
from pathlib import Path

import pytest
import salt.client
import salt.config
import salt.loader

CHECKOUT = Path(__file__).parents[2]
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


@pytest.fixture(scope="session")
def minion(tmp_path_factory):
    """minion(host, provider, checkout): its salt.client.Caller. checkout: whose pillar/ it has."""
    root = tmp_path_factory.mktemp("render")
    grains = {}

    @functools.cache
    def make(host, provider, checkout=CHECKOUT):
        state = root / f"{provider}-{checkout.name}"
        state.mkdir(exist_ok=True)
        (state / "deployment.json").write_text(json.dumps({"provider": provider}))
        (state / "ca.crt").write_text(PEM)
        opts = salt.config.minion_config(None)
        opts.update(
            id=host,
            file_client="local",
            root_dir=str(state),
            cachedir=str(state / f"cache-{host}"),
            extension_modules=str(state / "extmods"),
            pillar_dirs=[str(CHECKOUT / "_pillar")],
            module_dirs=[str(CHECKOUT / "_modules")],
            states_dirs=[str(CHECKOUT / "_states")],
            utils_dirs=[str(CHECKOUT / "_utils")],
            file_roots={"base": [str(CHECKOUT / "salt")]},
            pillar_roots={"base": []},
            ext_pillar=[{"voip": {"checkout": str(checkout), "state_dir": str(state)}}],
            log_file=str(state / "log"),
            enable_fqdns_grains=False,
        )
        if not grains:
            grains.update(salt.loader.grains(opts))
        opts["grains"] = grains | {"id": host}
        return salt.client.Caller(mopts=opts)

    return make


@pytest.fixture(scope="session")
def compiled(minion):
    """compiled(host, provider, checkout) -> (low chunks, names of all state functions)."""

    @functools.cache
    def compile_host(host, provider, checkout=CHECKOUT):
        caller = minion(host, provider, checkout)
        return caller.cmd("state.show_lowstate"), set(caller.sminion.states)

    return compile_host
