"""Every host of the topology, for every provider, compiled by Salt itself.

`state.show_lowstate` reports duplicate IDs, unresolved requisites and Jinja errors and changes
nothing; then each `state.function` is looked up in the loader, and each `salt://` source in the
file server.
"""

import functools
import json
from pathlib import Path

import pytest
import salt.client
import salt.config
import salt.loader

from voip_stack.pillar import load

CHECKOUT = Path(__file__).parents[2]
PILLAR = load(CHECKOUT / "pillar")
PROVIDERS = list(PILLAR.management)
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """compiled(host, provider) -> (low chunks, names of all state functions), masterless."""
    root = tmp_path_factory.mktemp("render")
    grains = {}

    @functools.cache
    def compile_host(host, provider):
        state = root / provider
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
            ext_pillar=[{"voip": {"checkout": str(CHECKOUT), "state_dir": str(state)}}],
            log_file=str(state / "log"),
            enable_fqdns_grains=False,
        )
        if not grains:
            grains.update(salt.loader.grains(opts))
        opts["grains"] = grains | {"id": host}
        caller = salt.client.Caller(mopts=opts)
        return caller.cmd("state.show_lowstate"), set(caller.sminion.states)

    return compile_host


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("host", PILLAR.minions())
def test_lowstate_compiles(compiled, host, provider):
    low, functions = compiled(host, provider)
    assert low, "nothing to do on this host"
    assert all(isinstance(chunk, dict) for chunk in low), "\n".join(map(str, low))
    for chunk in low:
        name = f"{chunk['state']}.{chunk['fun']}"
        assert name in functions, f"{name} of {chunk['__id__']!r} ({chunk['__sls__']}) is unknown"
        for source in _sources(chunk):
            path = CHECKOUT / "salt" / source.removeprefix("salt://").split("?")[0]
            assert path.exists(), f"{source} of {chunk['__id__']!r} is not in the state tree"


@pytest.mark.parametrize("host", PILLAR.minions())
def test_state_ids_are_sentences(compiled, host):
    """IDs are what an operator reads in a failed run: sentences, not bare names."""
    for chunk in compiled(host, "lab")[0]:
        assert isinstance(chunk, dict), chunk
        assert " " in chunk["__id__"], f"{chunk['__id__']!r} in {chunk['__sls__']}"


def _sources(chunk):
    source = chunk.get("source")
    sources = source if isinstance(source, list) else [source]
    return [item for item in sources if isinstance(item, str) and item.startswith("salt://")
            and "saltenv=" not in item]  # fmt: skip
