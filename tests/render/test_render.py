"""Every host of the topology, for every provider, compiled by Salt itself.

`state.show_lowstate` reports duplicate IDs, unresolved requisites and Jinja errors and changes
nothing; then each `state.function` is looked up in the loader, and each `salt://` source in the
file server.
"""

from pathlib import Path

import pytest

from voip_stack.pillar import load

CHECKOUT = Path(__file__).parents[2]
PILLAR = load(CHECKOUT / "pillar")
PROVIDERS = list(PILLAR.management)


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
