"""Each guest by Testinfra: its units run and come back at boot, and its keys are shut.

Testinfra's own ways in are ssh and Salt's command line; here it goes the provider's.
"""

import pytest
import testinfra.host
from testinfra.backend.base import BaseBackend

HOSTS = ("sip-1", "media-1", "media-2", "pbx-1", "devstack")


class ProviderBackend(BaseBackend):
    """Runs Testinfra's commands in a guest."""

    NAME = "provider"

    def __init__(self, provider, hostname):
        super().__init__(hostname)
        self._provider = provider

    def run(self, command, *args, **kwargs):
        argv = ["sh", "-c", self.get_command(command, *args)]
        done = self._provider.run(self.hostname, argv, check=False)
        return self.result(done.returncode, self.encode(command), done.stdout, done.stderr)


@pytest.fixture(params=HOSTS)
def name(request):
    return request.param


@pytest.fixture
def host(name, provider):
    return testinfra.host.Host(ProviderBackend(provider, name))


def test_components_run_and_come_back_at_boot(name, host, salt, compiled):
    report = salt(name, "voip_status.report")
    assert list(report) == compiled(name)["self"]["components"]
    for unit in ("salt-minion", *(part["unit"] for part in report.values())):
        assert host.service(unit).is_running, unit
        assert host.service(unit).is_enabled, unit
    # One shot: it loads the rules at boot.
    assert host.service("nftables").is_enabled


def test_keys_are_shut(name, host, compiled):
    for component, certificate in compiled(name).get("certificates", {}).items():
        key = host.file(f"/etc/voip-stack/tls/{component}.key")
        target = host.file(key.linked_to) if key.is_symlink else key
        assert (target.user, target.group) == ("root", certificate["group"])
        assert target.mode == 0o640


@pytest.mark.parametrize(
    ("path", "mode"),
    [("/etc/voip-stack/vault/approle.json", 0o600), ("/etc/salt/pki/minion/minion.pem", 0o400)],
)
def test_identities_are_roots_alone(host, path, mode):
    assert (host.file(path).user, host.file(path).mode) == ("root", mode)


def test_packages_are_at_least_the_lowest_safe(name, salt):
    unsafe = {item: part["problem"] for item, part in salt(name, "voip_status.report").items()
              if not part["is_safe"]}  # fmt: skip
    assert unsafe == {}
