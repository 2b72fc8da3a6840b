"""Write files so that a reader, or a crash, never sees half of one or one that is too readable."""

import contextlib
import os
import tempfile

from salt.exceptions import CommandExecutionError


def write(path, text, mode, group_id=-1, directory_mode=0o755):
    """Replace `path` by `text` atomically; its directory is made when missing.

    mode: int, applied before the content is written. group_id: int, -1 keeps the process's own.
    Raises CommandExecutionError, of a full disk for example; `path` is then as it was.
    """
    try:
        replace(path, text.encode(), mode, group_id=group_id, directory_mode=directory_mode)
    except OSError as err:
        raise CommandExecutionError(f"{path} could not be written: {err.strerror}") from err


def replace(path, data, mode, user_id=-1, group_id=-1, directory_mode=0o755):
    """As write, of bytes and with an owner; raises OSError."""
    directory = os.path.dirname(path)
    if not os.path.isdir(directory):
        os.makedirs(directory, mode=0o755)
        os.chmod(directory, directory_mode)
    handle, temporary = tempfile.mkstemp(dir=directory, prefix=".new.")
    try:
        os.fchown(handle, user_id, group_id)
        os.fchmod(handle, mode)
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
