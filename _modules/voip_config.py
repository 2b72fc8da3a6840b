"""Stage, compare, try and install the configuration directory of one daemon.

Root on the minion. `secrets` are read by `voip_vault.read` (policy: read on the host's own
`<kv_mount>/data/hosts/<host>/*`) and never leave this process but into the 0640 files.
"""

import contextlib
import grp
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import voip_credentials
import voip_files
from salt.exceptions import CommandExecutionError

__virtualname__ = "voip_config"

_STAGE_PARENT = "/run/voip-stack"  # tmpfs: a staged secret never reaches a disk
_READY_S = 20
_STOP_S = 5
_TAIL = 12


def __virtual__():
    return __virtualname__


def render(source, files, context=None, secrets=None, saltenv="base", **kwargs):
    """Return {file: text}: each of files rendered by Jinja from its template below source.

    files: list of names ("x.conf" from "x.conf.j2"), or {name: template} where several files have
    one text. context: dict, what the templates see. secrets: {name: path below the KV mount}; the
    templates see what Vault holds there as `secrets[name]`, what a client uses, and as
    `accepted[name]` the pairs that a server takes: two while the secret is rotated.
    Raises CommandExecutionError; also as a job of its own with secrets, whose return is kept.
    """
    if secrets and kwargs.get("__pub_fun") == f"{__virtualname__}.render":
        raise CommandExecutionError("rendering with secrets is for states: a job's return is kept")
    values = dict(context or {})
    if secrets:
        values["secrets"] = {
            name: __salt__["voip_vault.read"](path) for name, path in secrets.items()
        }
        values["accepted"] = {
            name: voip_credentials.accepted(document)
            for name, document in values["secrets"].items()
        }
    wanted = dict(_template(item) for item in files)
    os.makedirs(_STAGE_PARENT, mode=0o755, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_STAGE_PARENT, prefix="render-") as room:
        texts = {
            template: _render_one(f"{source}/{template}.j2", room, values, saltenv)
            for template in sorted(set(wanted.values()))
        }
    return {name: texts[template] for name, template in wanted.items()}


def _template(item):
    return next(iter(item.items())) if isinstance(item, dict) else (item, item)


def _render_one(url, room, values, saltenv):
    path = os.path.join(room, os.path.basename(url))
    if not __salt__["cp.get_template"](url, path, template="jinja", saltenv=saltenv, **values):
        raise CommandExecutionError(f"{url} could not be rendered")
    with open(path, encoding="utf-8") as file:
        return file.read()


def changes(directory, texts, user="root", group="root", mode="0640"):
    """Return {file: what differs} between directory and texts: "new", "content", "owner", "mode".

    Never the text itself: it may hold a secret.
    """
    found = {}
    for name, text in texts.items():
        path = os.path.join(directory, name)
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                current = file.read()
                known = os.fstat(file.fileno())
        except FileNotFoundError:
            found[name] = "new"
            continue
        if current != text:
            found[name] = "content"
        elif (known.st_uid, known.st_gid) != _ids(user, group):
            found[name] = "owner"
        elif known.st_mode & 0o7777 != int(mode, 8):
            found[name] = "mode"
    return found


def _ids(user, group):
    try:
        return pwd.getpwnam(user).pw_uid, grp.getgrnam(group).gr_gid
    except KeyError as err:
        raise CommandExecutionError(f"no such user or group: {err.args[0]}") from err


@contextlib.contextmanager
def _staged(directory, texts, user, group):
    """Yield a private copy of directory with texts in place, readable by group."""
    os.makedirs(_STAGE_PARENT, mode=0o755, exist_ok=True)
    stage = tempfile.mkdtemp(dir=_STAGE_PARENT, prefix="stage-")
    try:
        uid, gid = _ids(user, group)
        if os.path.isdir(directory):
            _copy(directory, stage)
        for name, text in texts.items():
            voip_files.replace(os.path.join(stage, name), text.encode(), 0o640, uid, gid)
        os.chown(stage, uid, gid)
        os.chmod(stage, 0o750)  # noqa: S103
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _copy(directory, stage):
    """Copy a tree with its owners, which copytree drops: the daemon must be able to read it."""
    shutil.copytree(directory, stage, dirs_exist_ok=True, symlinks=True)
    for root, directories, files in os.walk(directory):
        for name in directories + files:
            path = os.path.join(root, name)
            known = os.lstat(path)
            copied = os.path.join(stage, os.path.relpath(path, directory))
            os.chown(copied, known.st_uid, known.st_gid, follow_symlinks=False)


def check(directory, texts, function, user="root", group="root"):
    """Let execution module function check directory as it would be with texts.

    function gets the staged directory's path and raises CommandExecutionError to refuse it.
    """
    try:
        with _staged(directory, texts, user, group) as stage:
            __salt__[function](stage)
    except OSError as err:
        raise CommandExecutionError(f"{directory} could not be tried: {err}") from err


def install(directory, texts, user="root", group="root", mode="0640"):
    """Put texts in place, each file atomically; all former files come back when one fails."""
    uid, gid = _ids(user, group)
    os.makedirs(directory, mode=0o755, exist_ok=True)
    done = {}
    try:
        for name, text in texts.items():
            path = os.path.join(directory, name)
            done[path] = _former(path)
            voip_files.replace(path, text.encode(), int(mode, 8), uid, gid)
    except OSError as err:
        for path, former in done.items():
            _restore(path, former)
        raise CommandExecutionError(f"{directory}: {err}; the former files are back") from err


def _former(path):
    try:
        with open(path, "rb") as file:
            known = os.fstat(file.fileno())
            return file.read(), known.st_mode & 0o7777, known.st_uid, known.st_gid
    except FileNotFoundError:
        return None


def _restore(path, former):
    with contextlib.suppress(OSError):
        if former is None:
            os.unlink(path)
        else:
            voip_files.replace(path, *former)


# The daemon's process replaces the shell's, so one signal ends it, and the namespace with it.
_TRIAL = """
ip link set lo up
for address in $ADDRESSES; do ip address add "$address" dev lo; done
exec setpriv --reuid="$RUN_USER" --regid="$RUN_USER" --init-groups -- "$@"
"""


def trial(argv, user, addresses=(), env=None):
    """Run a daemon that supports systemd's Type=notify until it says READY=1, then stop it.

    It runs as user in a network namespace of its own whose loopback holds addresses: it can bind
    just what its file says, and neither meets the running daemon nor reaches anybody.
    Returns what it wrote. Raises CommandExecutionError when it ends or is not ready in time.
    """
    os.makedirs(_STAGE_PARENT, mode=0o755, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_STAGE_PARENT, prefix="trial-") as room:
        uid = pwd.getpwnam(user).pw_uid
        os.chown(room, uid, -1)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
            link.bind(os.path.join(room, "notify"))
            os.chown(os.path.join(room, "notify"), uid, -1)
            link.settimeout(0.1)
            environment = {
                "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                "HOME": room,
                "LANG": "C.UTF-8",
                "NOTIFY_SOCKET": link.getsockname(),
                "ADDRESSES": " ".join(addresses),
                "RUN_USER": user,
            } | (env or {})
            with open(os.path.join(room, "output"), "w+b") as output:
                ready = _await_ready(argv, environment, output, link)
                output.seek(0)
                text = output.read().decode("utf-8", "replace")
    if not ready:
        tail = "\n".join(text.strip().splitlines()[-_TAIL:])
        raise CommandExecutionError(f"{argv[0]} does not start with this configuration: {tail}")
    return text


def _await_ready(argv, environment, output, link):
    command = ["unshare", "--net", "--", "/bin/sh", "-e", "-c", _TRIAL, "trial", *argv]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment
    ) as process:
        try:
            deadline = time.monotonic() + _READY_S
            while time.monotonic() < deadline and process.poll() is None:
                with contextlib.suppress(TimeoutError):
                    if b"READY=1" in link.recv(4096):
                        return True
            return False
        finally:
            _stop(process)


def _stop(process):
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
