"""A real minion beside the master that `up` starts, on the loopback."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from voip_stack.master import config, daemon, keys

SALT_MINION = str(Path(sys.executable).with_name("salt-minion"))


def free_ports():
    """A publish and a request port that nobody uses."""
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]


def start_minion(home, name, ports, pair):
    """Start minion `name` below `home` with the keys `pair`, of the master at `ports`."""
    pki = home / "pki"
    pki.mkdir()
    for source, target in (
        (pair.private, "minion.pem"),
        (pair.public, "minion.pub"),
        (pair.master_public, "minion_master.pub"),
    ):
        (pki / target).write_bytes(source.read_bytes())
    options = {
        "id": name,
        "master": "127.0.0.1",
        "publish_port": ports[0],
        "master_port": ports[1],
        "root_dir": str(home),
        "pki_dir": str(pki),
        "cachedir": str(home / "cache"),
        "sock_dir": str(home / "run"),
        "log_file": str(home / "log"),
        "pidfile": str(home / "pid"),
        "enable_fqdns_grains": False,
        "acceptance_wait_time": 1,
        "multiprocessing": True,
    }
    (home / "minion").write_text(yaml.safe_dump(options))
    with open(home / "out", "w") as output:
        return subprocess.Popen(
            [SALT_MINION, "-c", str(home), "-l", "warning"],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def stop(process):
    """End a minion. One that is asked in the middle of a job may wait for it without end."""
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=20)


@contextlib.contextmanager
def master_of(names, directory):
    """A master as `up` starts it, on the loopback, with keys for `names`; yields its ports."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VOIP_STATE_DIR", str(directory))
        ports = free_ports()
        config.write("127.0.0.1", ports)
        keys.accept_only(names)
        daemon.start()
        try:
            yield ports
        finally:
            daemon.stop()
            shutil.rmtree(config.socket_dir(), ignore_errors=True)
