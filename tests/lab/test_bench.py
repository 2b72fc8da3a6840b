"""What benches rely on in the guests; the benches themselves are run by hand."""

from voip_stack.bench.sip import stock


def test_the_vendors_configuration_takes_the_platforms_place(provider, compiled):
    try:
        stock.install(provider, "sip-1", compiled("sip-1"), "^8[0-9]{9}$")
        argv = ["kamailio", "-c", "-f", f"{stock.DIRECTORY}/kamailio.cfg"]
        parsed = provider.run("sip-1", argv, check=False)
        assert parsed.returncode == 0, parsed.stderr.decode()
    finally:
        provider.run("sip-1", ["rm", "-rf", stock.DIRECTORY])
