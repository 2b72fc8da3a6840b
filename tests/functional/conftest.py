"""States through Salt's real loader, against real servers in temporary directories."""

import contextlib
import copy
import grp
import json
import os
import sys
import tempfile
from pathlib import Path

import pytest
import salt.config
from saltfactories.utils.functional import Loaders

from tests.functional.openbao_server import Server, free_port
from tests.functional.postgresql_server import Server as PostgresqlServer
from voip_stack import pillar as voip_pillar

CHECKOUT = Path(__file__).parents[2]
sys.path.append(str(CHECKOUT / "_utils"))
# Where every test host connects from; `elsewhere` is bound to an address that none of them has.
HERE, ELSEWHERE = "127.0.0.1", "127.0.0.9"
ELSEWHERE_HOST = "media-1"


class Host:
    """One minion's loaders, with its own directory in place of /etc/voip-stack."""

    def __init__(self, name, etc, loaders, pillar_file):
        self.name = name
        self.etc = etc
        self._loaders = loaders
        self._pillar_file = pillar_file

    @property
    def modules(self):
        return self._loaders.modules

    @property
    def states(self):
        self.forget()  # a state run of its own, as each job of a minion is
        return self._loaders.states

    @property
    def pillar(self):
        return self._loaders.opts["pillar"]["voip"]

    @property
    def has_failed(self):
        """Whether the job that ran last has said so, beside what it returned."""
        return bool(self._loaders.context.get("retcode"))

    @contextlib.contextmanager
    def changed(self, path, value):
        """Give the host another value of the pillar for a while; path: keys joined by colons."""
        before = self._pillar_file.read_text()
        voip = json.loads(before.removeprefix("#!json"))
        *parents, last = path.split(":")
        node = voip["voip"]
        for key in parents:
            node = node[key]
        node[last] = value
        self._pillar_file.write_text(f"#!json\n{json.dumps(voip)}\n")
        self._loaders.reload_all()
        try:
            yield
        finally:
            self._pillar_file.write_text(before)
            self._loaders.reload_all()

    def forget(self):
        """Drop the sessions of earlier calls."""
        self._loaders.context.clear()


@pytest.fixture(scope="module")
def vault_port():
    return free_port()


@pytest.fixture(scope="module")
def postgresql_port():
    return free_port()


@pytest.fixture(scope="module")
def postgresql_directory():
    """Not below pytest's own: that is closed to others at each session, and the server is one."""
    with tempfile.TemporaryDirectory(prefix="voip-postgresql-") as path:
        yield Path(path)


@pytest.fixture(scope="module")
def postgresql(postgresql_directory, postgresql_port):
    """A PostgreSQL server of the module's own; the host's options must say where it is."""
    server = PostgresqlServer(postgresql_directory, postgresql_port).start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def host_options():
    """More of the minions' configuration; a module may override it."""
    return {}


@pytest.fixture(scope="module")
def make_host(tmp_path_factory, vault_port, host_options):
    """Return a function that makes a Host from the checkout's pillar, moved to loopback."""
    made = {}

    def make(name):
        if name not in made:
            made[name] = _host(tmp_path_factory.mktemp(name), name, vault_port, host_options)
        return made[name]

    return make


@pytest.fixture(scope="module")
def devstack(make_host):
    return make_host("devstack")


@pytest.fixture(scope="module")
def server(devstack, tmp_path_factory, vault_port):
    """OpenBao as salt/openbao starts it: a self-signed listener, nothing initialised."""
    devstack.modules.openbao.make_bootstrap_certificate()
    running = Server(devstack.etc, tmp_path_factory.mktemp("bao"), vault_port).start()
    yield running
    running.kill()


@pytest.fixture(scope="module")
def provisioned(devstack, server):
    """devstack after its states: unsealed, provisioned, enrolled, certified."""
    # In one run, as the minion does it: sessions outlive the states that end what they trust.
    # The last one reads with the session that provisioning made.
    declared = [*PROVISIONING, ("voip_vault.generated", {"name": "again"})]
    high = {
        f"{number}": {state.split(".")[0]: [state.split(".")[1], kwargs, {"order": number}]}
        for number, (state, kwargs) in enumerate(declared, 1)
    }
    devstack.forget()
    for ret in devstack.modules.state.high(high):
        assert ret.result is True, ret.comment
    return devstack


# What salt/openbao and salt/vault declare, in order.
PROVISIONING = [
    ("openbao.initialized", {"name": "openbao"}),
    ("openbao.unsealed", {"name": "openbao"}),
    ("openbao.provisionable", {"name": "provision"}),
    ("voip_vault.engines", {"name": "voip"}),
    ("voip_vault.identities", {"name": "hosts"}),
    ("voip_vault.retired", {"name": "hosts"}),
    (
        "voip_vault.authorities",
        {"name": "pki_int", "root_name": "root CA", "intermediate_name": "intermediate CA"},
    ),
    ("voip_vault.generated", {"name": "hosts"}),
    ("voip_vault.enrolled", {"name": "devstack"}),
    ("voip_certificate.managed", {"name": "openbao"}),
]


@pytest.fixture
def enrolled(make_host, provisioned):
    """Return a function that enrols a host as the runner does, and returns it."""

    def enrol(name):
        host = make_host(name)
        host.forget()
        if not host.modules.voip_vault.is_enrolled():
            ca_pem = provisioned.modules.voip_pki.ca_pem()
            issued = provisioned.modules.voip_vault_identity.issue(name)
            accessor = host.modules.voip_vault.enrol(
                issued["role_id"], issued["wrap_token"], ca_pem
            )
            provisioned.modules.voip_vault_identity.retire(name, accessor)
        return host

    return enrol


def _host(directory, name, vault_port, options):
    etc = directory / "etc"
    (etc / "tls").mkdir(parents=True)
    config = {
        "id": name,
        "file_client": "local",
        "file_roots": {"base": [str(CHECKOUT / "salt")]},
        "pillar_roots": {"base": [str(directory / "pillar")]},
        "cachedir": str(directory / "cache"),
        "extension_modules": str(directory / "extmods"),  # not in the cache, which Loaders empties
        "module_dirs": [str(CHECKOUT / "tests" / "functional" / "modules")],
        "root_dir": str(directory),
        "pki_dir": str(directory / "pki"),
        "grains_cache": True,
        "voip_stack_dir": str(etc),
        "openbao_socket": str(etc / "run" / "admin.sock"),
    } | options
    (directory / "minion").write_text(json.dumps(config))
    (directory / "pillar").mkdir()
    (directory / "pillar" / "top.sls").write_text("base:\n  '*': [voip]\n")
    opts = salt.config.minion_config(str(directory / "minion"))
    # Each host's extensions are modules of their own: they hold that host's options.
    base = f"salt.loaded_{name.replace('-', '_')}"
    text = json.dumps({"voip": _pillar(name, vault_port)})
    (directory / "pillar" / "voip.sls").write_text(f"#!json\n{text}\n")
    loaders = Loaders(opts, loaded_base_name=base)
    return Host(name, etc, loaders, directory / "pillar" / "voip.sls")


def _pillar(name, vault_port):
    checked = voip_pillar.load(CHECKOUT / "pillar")
    voip = voip_pillar.compile_for(checked, name, {"provider": "lab"})
    voip = copy.deepcopy(voip)
    voip["vault"] |= {"address": HERE, "url": f"https://{HERE}:{vault_port}"}
    voip["ports"]["openbao"]["api"] = vault_port
    voip["peers"]["control"] = [HERE]
    voip["self"]["addresses"]["internal"] = HERE
    for component, certificate in voip["certificates"].items():
        # Of the daemons only OpenBao runs; nobody listens on port 1.
        listener = [HERE, vault_port if component == "openbao" else 1]
        certificate |= {"ip_sans": [HERE], "group": grp.getgrgid(os.getgid()).gr_name}
        certificate |= {"listeners": [listener]}
    for host, entry in voip.get("provisioning", {}).items():
        entry["address"] = ELSEWHERE if host == ELSEWHERE_HOST else HERE
        entry["addresses"] = [HERE]
    return voip
