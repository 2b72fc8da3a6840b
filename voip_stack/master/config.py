"""Render the master's configuration: one file, everything below the state directory."""

from __future__ import annotations

import getpass
import hashlib
import os
from pathlib import Path
from typing import Any

import yaml

from voip_stack import paths
from voip_stack.deployment import write_atomic
from voip_stack.problem import Problem

# Salt's longest socket name is about 30 characters; Linux allows 107 for the whole path.
SOCKET_DIRECTORY_MAX = 75
# Loader's name of each kind of extension, and its folder in the checkout. Folder by folder: with
# `module_dirs: [checkout]` the loader would take pillar/ (the data) for the pillar modules.
EXTENSIONS = {
    "module_dirs": "_modules",
    "states_dirs": "_states",
    "utils_dirs": "_utils",
    "runner_dirs": "_runners",
    "pillar_dirs": "_pillar",
}


def socket_dir(state_dir: Path | None = None) -> Path:
    """Where a master's sockets go: below the state directory, or a short path for deep ones."""
    wanted = (state_dir or paths.state_dir()) / "master" / "run"
    if len(str(wanted)) <= SOCKET_DIRECTORY_MAX:
        return wanted
    digest = hashlib.sha256(str(wanted).encode()).hexdigest()[:10]
    return Path("/tmp") / f"voip-{os.getuid()}-{digest}"  # noqa: S108 - ownership is checked


def master_options(
    interface: str,
    ports: tuple[int, int],
    packages_dir: Path | None,
    rotation_check_s: int | None = None,
) -> dict[str, Any]:
    """The master's configuration.

    interface: the control host's address that the minions reach.
    ports: publish and request port (pillar: master).
    packages_dir: built packages, served as the saltenv `packages`.
    rotation_check_s: how often the master looks which secrets are due; None: never.
    """
    checkout, home = paths.checkout(), paths.master_dir()
    file_roots = {"base": [str(checkout / "salt")]}
    if packages_dir is not None:
        file_roots["packages"] = [str(packages_dir)]
    extensions = {name: [str(checkout / folder)] for name, folder in EXTENSIONS.items()}
    return extensions | {
        "id": "voip",
        "user": getpass.getuser(),
        "interface": interface,
        "publish_port": ports[0],
        "ret_port": ports[1],
        # Every path is given in full: Salt would put its root before a socket directory elsewhere.
        "root_dir": "/",
        "pki_dir": str(home / "pki"),
        "cachedir": str(home / "cache"),
        "sqlite_queue_dir": str(home / "cache" / "queues"),
        "extension_modules": str(home / "extmods"),
        "sock_dir": str(socket_dir()),
        "pidfile": str(home / "salt-master.pid"),
        "log_file": str(home / "log" / "master"),
        "key_logfile": str(home / "log" / "key"),
        "ssh_log_file": str(home / "log" / "ssh"),
        # The console; warnings of Salt itself (unclosed objects) say nothing to an operator.
        "log_level": "error",
        "log_level_logfile": "info",
        "open_mode": False,
        "auto_accept": False,
        "permissive_pki_access": False,
        "sign_pub_messages": True,
        "publish_signing_algorithm": "PKCS1v15-SHA224",
        "file_roots": file_roots,
        "pillar_roots": {"base": []},
        "ext_pillar": [{"voip": {"checkout": str(checkout), "state_dir": str(paths.state_dir())}}],
        # A refused pillar must not be served from a cache.
        "pillar_cache": False,
        "state_top_saltenv": "base",
        "default_top": "base",
        "top_file_merging_strategy": "same",
        "worker_threads": 3,
        "timeout": 15,
        "gather_job_timeout": 10,
        "presence_events": False,
        "keep_jobs_seconds": 86400,
        # Named by Salt's class. What a runner returns is not kept: each event of a minion is such
        # a job, and to keep it Salt lists every accepted key. What came of it is on our own record.
        "runnerclient_returns": False,
        "state_output": "mixed",
        "state_verbose": False,
        "state_output_pct": False,
        "roster_file": str(home / "roster"),
        "reactor": reactors(checkout / "reactor"),
        "schedule": schedule(rotation_check_s),
        "file_ignore_regex": [r"/__pycache__/", r"\.pyc$"],
        "telemetry": {"enabled": False},
    }


def schedule(rotation_check_s: int | None) -> dict[str, Any]:
    """What the master does by itself. It remembers nothing: ages in the Vault say what is due."""
    if rotation_check_s is None:
        return {}
    every = {
        "seconds": rotation_check_s,
        "run_on_start": True,
        "maxrunning": 1,
        "return_job": False,
    }
    return {
        "rotation": every | {"function": "voip_rotation.scheduled"},
        "authority": every | {"function": "voip_authority.scheduled"},
    }


def reactors(directory: Path) -> list[dict[str, list[str]]]:
    """Event tag -> reactor files, from reactor/map.yaml; empty when there is none yet."""
    table = directory / "map.yaml"
    if not table.exists():
        return []
    entries = yaml.safe_load(table.read_text()) or {}
    return [{tag: [str(directory / name) for name in names]} for tag, names in entries.items()]


def minion_options() -> dict[str, Any]:
    """For `salt-call --local` on the control host: the same trees, no daemon, no master."""
    options = master_options("127.0.0.1", (0, 0), None)  # nothing of it listens
    kept = ("file_roots", "pillar_roots", "ext_pillar", *EXTENSIONS)
    home = paths.master_dir() / "local"
    return {name: options[name] for name in kept} | {
        "id": "control",
        "file_client": "local",
        "root_dir": str(home),
        "pki_dir": str(home / "pki"),
        "cachedir": str(home / "cache"),
        "sock_dir": str(home / "run"),
        "log_file": str(home / "log"),
        "enable_fqdns_grains": False,
    }


def write(
    interface: str,
    ports: tuple[int, int],
    packages_dir: Path | None = None,
    rotation_check_s: int | None = None,
) -> bool:
    """Write the configuration. Returns True when it changed: a running master must restart."""
    home = paths.master_dir()
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)
    for folder in ("pki", "cache", "log", "extmods"):
        (home / folder).mkdir(exist_ok=True)
    _make_socket_dir(socket_dir())
    write_atomic(home / "minion", _yaml(minion_options()), 0o600)
    options = master_options(interface, ports, packages_dir, rotation_check_s)
    return write_atomic(home / "master", _yaml(options), 0o600)


def _make_socket_dir(directory: Path) -> None:
    directory.mkdir(mode=0o700, exist_ok=True)
    found = directory.lstat()
    if directory.is_symlink() or found.st_uid != os.getuid():
        raise Problem(
            "The directory for the Salt master's sockets belongs to somebody else",
            str(directory),
            "remove it, or use a checkout with a shorter path",
        )
    directory.chmod(0o700)


def _yaml(options: dict[str, Any]) -> str:
    head = "# Written by ./voip; changes are lost. See voip_stack/master/config.py.\n"
    return head + yaml.safe_dump(options, sort_keys=False)
