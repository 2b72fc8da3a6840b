"""Without IPv6 in the pillar there is none on any host: every file is that of IPv4, to the byte.

What the pillar's own topology makes, with what is of IPv6 cut out, is what the topology without it
makes. So IPv6 adds lines and parts of lines, and changes nothing that was there. (The proxy's
routing is one and the same file everywhere: tests/unit/test_ipv6.py looks at its blocks.)
"""

import re
import sys

import pytest

from tests import ipv4_only
from voip_stack import paths
from voip_stack.pillar import compile_for, load

sys.path.append(str(paths.checkout() / "_utils"))
import voip_kamailio

PILLAR = load(paths.pillar_dir())
# Each thing that IPv6 adds somewhere.
ADDED = (
    r";external/fd64[0-9a-f:]+",  # RTPEngine's interfaces
    r"\n    # VRRP's own packets.*?\n    virtual_ipaddress_excluded \{.*?\n    \}",
    r" address-family=IP4",
    r"(?m)^[^\n]*(fd64:|EXTERNAL_IPV6)[^\n]*\n",  # rules, listeners, conditions
)


@pytest.fixture(scope="module")
def without(tmp_path_factory):
    checkout = tmp_path_factory.mktemp("ipv4-only")
    ipv4_only.pillar_dir(checkout)
    return checkout


def written(minion, compiled, host, checkout):
    """{state's ID and file: text} of each file and ruleset that a host gets from the pillar."""
    caller = minion(host, "hosts", checkout)
    low, _ = compiled(host, "hosts", checkout)
    found = {}
    for chunk in low:
        arguments = {key: chunk.get(key) for key in ("source", "files", "context")}
        function = (chunk["state"], chunk["fun"])
        if function == ("voip_config", "managed") and "secrets" not in chunk:
            texts = caller.cmd("voip_config.render", **arguments)
        elif function == ("voip_firewall", "managed"):
            names = ("rules", "addresses", "networks", "masters", "master_ports", "egress")
            declared = {name: chunk[name] for name in names}
            texts = {"ruleset": caller.cmd("voip_firewall.ruleset", **declared)}
        elif function == ("kamailio", "configured"):
            voip = compile_for(load(checkout / "pillar"), host, {"provider": "hosts"})
            texts = {"defines.cfg": voip_kamailio.defines(voip)} | voip_kamailio.tables(voip)
        else:
            continue
        found |= {f"{chunk['__id__']}: {name}": text for name, text in texts.items()}
    return found


@pytest.mark.parametrize("host", ["sip-1", "media-1", "pbx-1"])
def test_a_pillar_without_it_makes_what_ipv4_alone_made(minion, compiled, without, host):
    both = written(minion, compiled, host, paths.checkout())
    alone = written(minion, compiled, host, without)
    assert both.keys() == alone.keys()
    for name, text in both.items():
        for pattern in ADDED:
            text = re.sub(pattern, "", text, flags=re.DOTALL)
        assert text == alone[name], name
    assert ("fd64:" in "".join(both.values())) is (PILLAR.hosts[host].external_ipv6 is not None)
