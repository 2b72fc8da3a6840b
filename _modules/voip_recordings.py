"""Recordings on a media host: their key, what is kept, and who fetched what.

The host has the public key on disk; the private one is derived from the secret `recordings` of this
host in the Vault, on the control host, when a recording is fetched.
Policy: `read` on <kv_mount>/data/hosts/<host>/recordings.
"""

import json
import os
import re
import time

import voip_files
import voip_recording
from salt.exceptions import CommandExecutionError

__virtualname__ = "voip_recordings"

STORE = "/var/lib/voip-stack/recordings"
AUDIT = "/var/lib/voip-stack/recordings-audit.jsonl"
_ID = re.compile(r"^[0-9A-Za-z_-]{1,96}$")


def __virtual__():
    return __virtualname__


def public_key():
    """Return the public key of this host's recordings, made from its secret in the Vault."""
    secret = __salt__["voip_vault.secret"]("recordings")
    return voip_recording.public_hex(voip_recording.private_key(secret))


def key_difference(path):
    """Return {path: {"old", "new"}} of key names, {} when the file has the Vault's key."""
    wanted = public_key()
    try:
        with open(path, encoding="utf-8") as file:
            current = file.read().strip()
    except FileNotFoundError:
        current = ""
    if current == wanted:
        return {}
    old = voip_recording.key_id(current) if re.fullmatch(r"[0-9a-f]{64}", current) else None
    return {path: {"old": old, "new": voip_recording.key_id(wanted)}}


def write_key(path):
    """Put the public key into the file `path`."""
    voip_files.write(path, public_key() + "\n", mode=0o644)


def kept(limit=10000):
    """Return what is kept here, newest first: id, number, peer, started, seconds, bytes, key, ...

    CLI Example:

    .. code-block:: bash

        salt media-1 voip_recordings.kept
    """
    found = []
    names = sorted(os.listdir(STORE), reverse=True) if os.path.isdir(STORE) else []
    for name in [name for name in names if name.endswith(".sealed")][: int(limit)]:
        path = os.path.join(STORE, name)
        try:
            with open(path, "rb") as file:
                header, _ = voip_recording.read_header(file)
            size = os.path.getsize(path)
        except FileNotFoundError:
            continue  # its time was over just now
        except voip_recording.SealError as err:
            found.append({"id": name.removesuffix(".sealed"), "damaged": str(err)})
            continue
        found.append(header["about"] | {"key": header["key"], "bytes": size})
    return found


def fetched(recording, by):
    """Note that `by` fetches `recording`, before it is handed out; returns the file's path.

    Raises CommandExecutionError when there is no such recording.
    """
    path = os.path.join(STORE, f"{recording}.sealed")
    if not _ID.match(recording) or not os.path.isfile(path):
        raise CommandExecutionError(f"no recording {recording[:96]} here")
    line = json.dumps({"time": int(time.time()), "recording": recording, "by": by[:128]})
    handle = os.open(AUDIT, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(line + "\n")
    return path


def audit(limit=1000):
    """Return who fetched what, newest first: [{"time", "recording", "by"}]."""
    try:
        with open(AUDIT, encoding="utf-8") as file:
            lines = file.readlines()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in reversed(lines[-int(limit) :])]
