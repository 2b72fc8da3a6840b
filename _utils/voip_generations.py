"""Certificate and key as one unit on disk: generations, and a link to the one in use.

DIR/<name>.crt and DIR/<name>.key are links into DIR/<name>.d, itself a link to the generation
DIR/.<name>.<serial>: replacing that one link swaps both at once. Whoever opens one file before and
the other after it finds a key that is not the certificate's and refuses the pair; see
docs/adr on why that is enough.
"""

import contextlib
import fcntl
import os
import pathlib
import shutil
import time

import voip_files
from salt.exceptions import CommandExecutionError

LOCK_S = 30


def put(directory, name, serial, chain, key_pem, key_mode, group_id):
    """Write a generation without using it. Returns its name.

    key_mode: int. group_id: int, of the key.
    """
    generation = f".{name}.{serial}"
    path = os.path.join(directory, generation)
    voip_files.write(f"{path}/key.pem", key_pem, key_mode, group_id)
    voip_files.write(f"{path}/cert.pem", chain, 0o644)
    return generation


def use(directory, name, generation):
    """Make `generation` the pair in use, in one step."""
    _point(os.path.join(directory, f"{name}.d"), generation)
    for file, target in ((f"{name}.crt", "cert.pem"), (f"{name}.key", "key.pem")):
        path, wanted = os.path.join(directory, file), f"{name}.d/{target}"
        if not (os.path.islink(path) and os.readlink(path) == wanted):
            _point(path, wanted)


def current(directory, name):
    """Return the generation in use, None before the first."""
    try:
        return os.readlink(os.path.join(directory, f"{name}.d"))
    except OSError:
        return None


def others(directory, name):
    """Return the generations that are kept beside the one in use, newest first."""
    used = current(directory, name)
    found = [
        path
        for path in pathlib.Path(directory).glob(f".{name}.*")
        if path.is_dir() and path.name != used
    ]
    return [path.name for path in sorted(found, key=lambda path: -path.stat().st_mtime)]


def drop(directory, generations):
    """Remove generations that nobody needs any more."""
    for generation in generations:
        shutil.rmtree(os.path.join(directory, generation), ignore_errors=True)


@contextlib.contextmanager
def locked(directory, name):
    """One at a time changes the pair of `name`. Raises CommandExecutionError after LOCK_S."""
    deadline = time.monotonic() + LOCK_S
    with open(os.path.join(directory, f".lock.{name}"), "w", encoding="utf-8") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise CommandExecutionError(
                        f"{name}: another process has been changing this certificate for {LOCK_S} s"
                    ) from None
                time.sleep(0.1)
        yield


def is_locked(directory, name):
    """Whether the pair of `name` is being changed at this moment."""
    try:
        with open(os.path.join(directory, f".lock.{name}"), encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _point(link, target):
    """Make `link` a symbolic link to `target`, atomically."""
    temporary = f"{link}.new"
    if os.path.lexists(temporary):
        os.unlink(temporary)
    os.symlink(target, temporary)
    os.replace(temporary, link)
