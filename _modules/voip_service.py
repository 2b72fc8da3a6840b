"""Ask and drive one systemd unit, with one subprocess for all that a state wants to know."""

import contextlib
import os
import subprocess
import time

import voip_unit
from salt.exceptions import CommandExecutionError

__virtualname__ = "voip_service"

_STAMPS = "/run/voip-stack"
_TIMEOUT_S = 90
_PROPERTIES = (
    "ActiveState,SubState,Result,UnitFileState,NeedDaemonReload,ExecMainStartTimestampMonotonic"
)


def __virtual__():
    return __virtualname__


def _systemctl(*arguments):
    argv = ["systemctl", *arguments]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as err:
        raise CommandExecutionError(f"{' '.join(argv)}: {err}") from err
    if done.returncode:
        raise CommandExecutionError(done.stderr.strip() or f"{' '.join(argv)} failed")
    return done.stdout


def facts(name):
    """Return active, enabled, stale (unit file newer than what systemd knows), started (epoch)."""
    text = _systemctl("show", "--property", _PROPERTIES, name)
    return voip_unit.facts(text, time.time() - time.monotonic())


def shortcomings(name, paths=(), reload_paths=()):
    """Return {what: {"old", "new"}} that keeps unit `name` from being as declared; {} is good.

    paths: files and directories that the daemon reads when it starts; reload_paths: those that its
    reload reads again. One that was written after that counts, whichever run wrote it: a restart
    that an earlier failure prevented is made up for.
    """
    known = facts(name)
    stamp = _written(_stamp(name))
    return voip_unit.shortcomings(known, _newest(paths), _newest(reload_paths), stamp)


def apply(name, wrong, reload_function=None):
    """Mend what `shortcomings` found. Raises CommandExecutionError with the unit's last lines."""
    _systemctl("daemon-reload")
    if "enabled" in wrong:
        _systemctl("enable", name)
    if "running" in wrong or "restarted" in wrong:
        restart(name)
    elif "reloaded" in wrong:
        __salt__[reload_function]() if reload_function else _systemctl("reload", name)
    _touch(_stamp(name))


def restart(name):
    """Restart the unit and wait until it is ready."""
    try:
        _systemctl("restart", name)
    except CommandExecutionError as err:
        raise CommandExecutionError(f"{name} does not start: {_journal(name) or err}") from err


def _journal(name):
    argv = ["journalctl", "--unit", name, "--lines", "6", "--no-pager", "--output", "cat"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
        return " | ".join(done.stdout.strip().splitlines())
    return ""


def _stamp(name):
    return os.path.join(_STAMPS, f"{name}.read")


def _touch(path):
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    with open(path, "w", encoding="utf-8"):
        pass
    os.utime(path)


def _written(path):
    """Return when a file came to be what it is: dpkg gives a new program its build's mtime."""
    try:
        return os.lstat(path).st_ctime
    except FileNotFoundError:
        return 0.0


def _newest(paths):
    """Return (path, mtime) of what was written last below paths, None when nothing is there."""
    found = []
    for path in paths:
        found.append((path, _written(path)))
        for root, _, files in os.walk(path):
            found += [(item, _written(item)) for item in (os.path.join(root, x) for x in files)]
    return max(found, key=lambda item: item[1], default=None)
