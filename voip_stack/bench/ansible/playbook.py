"""A host's lowstate as an Ansible playbook for the same resources. Pure functions.

Only what ansible-core has a module for is translated, each in its cheapest form: a daemon's own
parser, handshakes, database rows and checks of a running daemon are left out and counted. So
Ansible has less to do than Salt has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Chunk = Mapping[str, Any]
Task = dict[str, Any]
TLS = "/etc/voip-stack/tls"


@dataclass(frozen=True)
class Found:
    """A path of the host as it is. mode: octal digits; content: None for what is no file."""

    mode: str
    owner: str
    group: str
    content: bytes | None = None


@dataclass
class Host:
    """What is known of the host. files: by path; packages: component -> names for apt."""

    files: Mapping[str, Found]
    packages: Mapping[str, list[str]]


@dataclass
class Playbook:
    """tasks, and the contents that they copy, by path; which state functions are left out."""

    tasks: list[Task] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    states: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


def paths(low: list[Chunk]) -> tuple[list[str], list[str]]:
    """(paths, directories with all that is in them) that `translate` has to know of.

    The text of a file with a secret in it is not among them: it stays on its host.
    """
    single: list[str] = []
    trees: list[str] = []
    for chunk in low:
        function = _function(chunk)
        if function in TREES:
            trees.append(chunk["name"])
        elif function in ("file.managed", "voip_firewall.managed"):
            single.append(chunk["name"])
        elif function == "voip_config.managed" and not chunk.get("secrets"):
            single += _config_files(chunk)
    return sorted(set(single)), sorted(set(trees))


def translate(low: list[Chunk], host: Host) -> Playbook:
    """The playbook of a host; each task has the name of its state."""
    book = Playbook()
    for chunk in low:
        function = _function(chunk)
        tasks = TASKS[function](chunk, host, book) if function in TASKS else []
        # Two states may write into one directory: the second has nothing left.
        if not tasks and function not in TREES:
            book.left_out[function] += 1
            continue
        book.states += 1
        book.tasks += [{"name": chunk["__id__"], **task} for task in tasks]
    return book


def _function(chunk: Chunk) -> str:
    return f"{chunk['state']}.{chunk['fun']}"


def _config_files(chunk: Chunk) -> list[str]:
    return [f"{chunk['name']}/{file}" for file in chunk["files"]]


def _copy(path: str, host: Host, book: Playbook) -> list[Task]:
    found = host.files.get(path)
    if found is None or found.content is None or path in book.files:
        return []
    book.files[path] = found.content
    owner = {"owner": found.owner, "group": found.group, "mode": found.mode}
    return [{"ansible.builtin.copy": {"src": local_name(path), "dest": path, **owner}}]


def local_name(path: str) -> str:
    """A copied file's place below the project's files/."""
    return path.lstrip("/").replace("/", "!")


def _managed(chunk: Chunk, host: Host, book: Playbook) -> list[Task]:
    return _copy(chunk["name"], host, book)


def _tree(chunk: Chunk, host: Host, book: Playbook) -> list[Task]:
    below = f"{chunk['name']}/"
    return [
        task for path in host.files if path.startswith(below) for task in _copy(path, host, book)
    ]


def _config(chunk: Chunk, host: Host, book: Playbook) -> list[Task]:
    if not chunk.get("secrets"):
        return [task for path in _config_files(chunk) for task in _copy(path, host, book)]
    wanted = {"user": "root", "group": "root", "mode": "0640", **chunk}
    owner = {"owner": wanted["user"], "group": wanted["group"], "mode": wanted["mode"]}
    return [{"ansible.builtin.file": {"path": path, **owner}} for path in _config_files(chunk)]


def _authority(chunk: Chunk, host: Host, book: Playbook) -> list[Task]:
    copied = {"dest": f"{TLS}/{chunk['name']}", "content": chunk["pem"]}
    return [{"ansible.builtin.copy": copied}]


def _directory(chunk: Chunk, host: Host, book: Playbook) -> list[Task]:
    wanted = {"path": chunk["name"], "state": "directory"}
    names = {"user": "owner", "group": "group", "mode": "mode"}
    wanted |= {ours: chunk[theirs] for theirs, ours in names.items() if theirs in chunk}
    return [{"ansible.builtin.file": wanted}]


def _absent(chunk: Chunk, host: Host, book: Playbook) -> list[Task]:
    return [{"ansible.builtin.file": {"path": chunk["name"], "state": "absent"}}]


def _link(chunk: Chunk, host: Host, book: Playbook) -> list[Task]:
    wanted = {"path": chunk["name"], "src": chunk["target"], "state": "link"}
    return [{"ansible.builtin.file": wanted}]


def _block(chunk: Chunk, host: Host, book: Playbook) -> list[Task]:
    wanted = {"path": chunk["name"], "block": chunk["content"], "marker": "{mark}"}
    wanted |= {"marker_begin": chunk["marker_start"], "marker_end": chunk["marker_end"]}
    return [{"ansible.builtin.blockinfile": wanted}]


def _packages(chunk: Chunk, host: Host, book: Playbook) -> list[Task]:
    names = chunk.get("pkgs") or [chunk["name"]]
    return [{"ansible.builtin.apt": {"name": list(names), "state": "present"}}]


def _component(chunk: Chunk, host: Host, book: Playbook) -> list[Task]:
    names = host.packages.get(chunk["name"])
    return [{"ansible.builtin.apt": {"name": names, "state": "present"}}] if names else []


def _running(chunk: Chunk, host: Host, book: Playbook) -> list[Task]:
    wanted = {"name": chunk["name"], "state": "started", "enabled": True}
    return [{"ansible.builtin.systemd_service": wanted}]


def _enabled(chunk: Chunk, host: Host, book: Playbook) -> list[Task]:
    return [{"ansible.builtin.systemd_service": {"name": chunk["name"], "enabled": True}}]


def _account(module: str) -> Callable[[Chunk, Host, Playbook], list[Task]]:
    kept = ("name", "system", "home", "shell", "gid", "uid", "groups")

    def tasks(chunk: Chunk, host: Host, book: Playbook) -> list[Task]:
        return [{module: {key: chunk[key] for key in kept if key in chunk}}]

    return tasks


# Their directory is theirs, whatever files are in it.
TREES = ("kamailio.configured", "kamailio.tables", "file.recurse")
TASKS: dict[str, Callable[[Chunk, Host, Playbook], list[Task]]] = {
    "file.managed": _managed,
    "file.directory": _directory,
    "file.absent": _absent,
    "file.symlink": _link,
    "file.recurse": _tree,
    "file.blockreplace": _block,
    "voip_config.managed": _config,
    "voip_firewall.managed": _managed,
    "voip_certificate.authority": _authority,
    "kamailio.configured": _tree,
    "kamailio.tables": _tree,
    "pkg.installed": _packages,
    "voip_package.installed": _component,
    "voip_service.running": _running,
    "service.running": _running,
    "service.enabled": _enabled,
    "user.present": _account("ansible.builtin.user"),
    "group.present": _account("ansible.builtin.group"),
}
