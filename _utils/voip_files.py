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
        _write(path, text, mode, group_id, directory_mode)
    except OSError as err:
        raise CommandExecutionError(f"{path} could not be written: {err.strerror}") from err


def _write(path, text, mode, group_id, directory_mode):
    directory = os.path.dirname(path)
    if not os.path.isdir(directory):
        os.makedirs(directory, mode=0o755)
        os.chmod(directory, directory_mode)
    handle, temporary = tempfile.mkstemp(dir=directory, prefix=".new.")
    try:
        os.fchown(handle, -1, group_id)
        os.fchmod(handle, mode)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
