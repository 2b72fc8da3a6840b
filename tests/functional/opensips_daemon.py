"""A real OpenSIPS of the packages, with the routing of the tree, on loopback, for its tests."""

import datetime
import importlib.util
import json
import os
import socket
import subprocess
import time
from pathlib import Path

import opensips as control
import voip_opensips
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.functional.openbao_server import free_port
from voip_stack.pillar import compile_for, load

CHECKOUT = Path(__file__).parents[2]
ROUTING = CHECKOUT / "salt/opensips/files"
INSIDE, OUTSIDE = "127.0.0.1", "127.0.0.2"
_START_S = 30
# Of a connection by which nobody is registered.
IDLE_S = 5


class Authority:
    """Signs certificates for loopback."""

    def __init__(self):
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.pem = self._certificate("ca", self._key, is_ca=True)

    def pair(self, name):
        """(chain, key) PEM of a new certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        text = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return self._certificate(name, key), text.decode()

    def _certificate(self, name, key, is_ca=False):
        now = datetime.datetime.now(datetime.UTC)
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ca")])
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return made.public_bytes(serialization.Encoding.PEM).decode()


def _loaded(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Daemon:
    """sip-1's, moved to loopback and to ports of its own; `room` holds all that it reads."""

    def __init__(self, package: Path, room: Path, database):
        pillar = load(CHECKOUT / "pillar")
        self.voip = compile_for(pillar, "sip-1", {})
        self.voip["opensips"] = pillar.opensips.model_dump(mode="json") | {
            "database": {"user": "postgres", "name": "kamailio", "locations": "kamailio"}
        }
        self.voip["toll"] |= {"calls": {"at_once": 1, "per_minute": 8}, "idle_s": IDLE_S}
        own = self.voip["self"]
        own["addresses"] = {"internal": INSIDE, "external": OUTSIDE}
        own.pop("ipv6", None)
        self.voip.pop("shared", None)
        own["networks"]["internal"]["interface"] = "lo"
        self.voip["ports"]["opensips"] = {
            name: free_port() for name in ("sip-udp", "sip-tcp", "sip-tls", "ws", "wss")
        }
        self.voip["hosts"]["pbx-1"]["internal"] = INSIDE
        self.room, self.authority = room, Authority()
        self._program = package / "usr/sbin/opensips"
        self._modules = next(package.glob("usr/lib/*/opensips/modules"))
        self._env = {"PGHOST": str(database.directory), "PGPORT": str(database.port)}
        self._process = None
        self._tls_tables = _loaded(ROUTING / "tls_tables.py")
        self._lay()

    @property
    def ports(self):
        return self.voip["ports"]["opensips"]

    def tables(self, **toll):
        """Lay the tables anew, with other values of pillar's toll."""
        self.voip["toll"] |= toll
        for name, text in voip_opensips.tables(self.voip).items():
            if name.startswith("tables/"):
                (self.room / name).write_text(text)

    def _lay(self):
        values = voip_opensips.values(self.voip, f"{self._modules}/", str(self.room))
        texts = {
            str(path.relative_to(ROUTING)): voip_opensips.substituted(path.read_text(), values)
            for path in ROUTING.rglob("*.cfg")
        }
        texts |= {"sockets.cfg": voip_opensips.sockets(self.voip)}
        texts |= voip_opensips.tables(self.voip)
        settings = json.loads(texts.pop("tls.json"))
        names = {"certificate": "own.crt", "private_key": "own.key", "ca_list": "ca.crt"}
        settings |= {key: str(self.room / name) for key, name in names.items()}
        settings |= {"group": "root", "directory": str(self.room / "tls")}
        texts["tls.json"] = json.dumps(settings)
        for name, text in texts.items():
            (self.room / name).parent.mkdir(parents=True, exist_ok=True)
            (self.room / name).write_text(text.replace("/run/opensips", str(self.room)))
        (self.room / "ca.crt").write_text(self.authority.pem)
        self.renew()

    def renew(self):
        """Another certificate, laid out; the daemon reads it when it is told. Returns it, PEM."""
        chain, key = self.authority.pair("sip-1.voip.test")
        (self.room / "own.crt").write_text(chain)
        (self.room / "own.key").write_text(key)
        self._tls_tables.main(json.loads((self.room / "tls.json").read_text()))
        return chain

    def start(self):
        control.CONTROL_SOCKET = str(self.room / "mi.sock")
        (self.room / "mi.sock").unlink(missing_ok=True)
        with (self.room / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "-F", "-f", self.room / "opensips.cfg", "-m", "128", "-M", "16"],
                stdout=log,
                stderr=log,
                env=os.environ | self._env,
                cwd=self.room,
            )
        deadline = time.monotonic() + _START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise AssertionError((self.room / "log").read_text()[-4000:])
            time.sleep(0.1)
        return self

    def _answers(self):
        """Whether it takes connections: its control socket is there before that."""
        try:
            with socket.create_connection((OUTSIDE, self.ports["wss"]), 1):
                return (self.room / "mi.sock").exists()
        except OSError:
            return False

    @property
    def is_running(self):
        return self._process is not None and self._process.poll() is None

    def kill(self):
        """As a crash: the main process, which takes the others with it."""
        self._process.kill()
        self._process.wait()
        children = subprocess.run(
            ["pgrep", "-f", str(self.room / "opensips.cfg")], capture_output=True, text=True
        ).stdout.split()
        for child in children:
            os.kill(int(child), 9)

    def stop(self):
        if self.is_running:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()
