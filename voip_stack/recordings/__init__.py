"""Recordings of calls: list what the media relays keep, fetch one, open it here.

Sealed files travel as they are; they are opened on the control host only, with the key that the
Vault gives its operator.
"""

from __future__ import annotations

import getpass
import io
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from voip_stack import paths, vault
from voip_stack.pillar.schema import Pillar
from voip_stack.problem import Problem
from voip_stack.providers.base import Provider
from voip_stack.recordings.mix import MixError, to_wav

# Written on the relay, opened here: one module for both.
sys.path.append(str(paths.CHECKOUT / "_utils"))

import voip_recording

FETCH_DEADLINE_S = 600.0


def relays(pillar: Pillar) -> list[str]:
    return [name for name, host in pillar.hosts.items() if "media" in host.roles]


def kept(pillar: Pillar) -> list[dict[str, Any]]:
    """What every relay keeps, the newest first."""
    from voip_stack.master import client

    found: list[dict[str, Any]] = []
    job = client.run(relays(pillar), "voip_recordings.kept", deadline_s=30)
    missing = sorted({*job.silent, *job.failed})
    if missing:
        raise Problem(
            f"{', '.join(missing)} did not tell its recordings", f"job {job.jid}", "./voip status"
        )
    for host, rows in job.returns.items():
        found += [{"relay": host, **row} for row in rows]
    return sorted(found, key=lambda row: row.get("started", 0), reverse=True)


def audit(pillar: Pillar) -> list[dict[str, Any]]:
    """Who fetched what, the newest first."""
    from voip_stack.master import client

    rows: list[dict[str, Any]] = []
    for host in relays(pillar):
        rows += [{"relay": host, **row} for row in client.call(host, "voip_recordings.audit")]
    return sorted(rows, key=lambda row: row["time"], reverse=True)


def start(pillar: Pillar, call_id: str) -> str:
    """Have the relay that has the call `call_id` record it from now on; the relay's name."""
    from voip_stack.master import client

    for host in relays(pillar):
        try:
            client.call(host, "rtpengine.start_recording", call_id)
        except Problem as error:
            if "Unknown call-id" not in error.what:
                raise
        else:
            return host
    raise Problem(f"No relay has a call {call_id}", "", "./voip salt sip-1 kamailio.dialogs")


def fetch(pillar: Pillar, provider: Provider, recording: str, target: Path, as_pcap: bool) -> dict:
    """Fetch and open one recording into the file `target`: a stereo WAV, or the packets.

    Returns what the recording says about itself. The relay notes who asks, before it answers.
    """
    from voip_stack.master import client

    host = _relay_of(pillar, recording)
    by = f"{getpass.getuser()}@{socket.gethostname()}"
    path = client.call(host, "voip_recordings.fetched", recording, by)
    sealed = provider.run(host, ["cat", path], timeout=FETCH_DEADLINE_S).stdout
    about, packets = unseal(sealed, host)
    try:
        data = packets if as_pcap else to_wav(packets)
    except MixError as error:
        raise Problem(
            f"{recording} cannot be made a WAV file: {error}", "", "add --pcap for its packets"
        ) from error
    _write(target, data)
    return about | {"file": str(target), "bytes": os.path.getsize(target)}


def unseal(sealed: bytes, host: str, secrets: Iterator[str] | None = None) -> tuple[dict, bytes]:
    """What a sealed recording of `host` says about itself, and its packets (pcap)."""
    try:
        header, _ = voip_recording.read_header(io.BytesIO(sealed))
        for secret in secrets if secrets is not None else vault.recording_secrets(host):
            key = voip_recording.private_key(secret)
            if voip_recording.key_id(voip_recording.public_hex(key)) == header["key"]:
                target = io.BytesIO()
                about = voip_recording.unseal(key, io.BytesIO(sealed), target)
                return about, target.getvalue()
    except voip_recording.SealError as error:
        raise Problem(f"The recording cannot be opened: {error}", host) from error
    raise Problem(
        f"The Vault has no key {header['key']} of {host} any more",
        "",
        "restore the Vault of the time when the call was recorded",
    )


def _write(target: Path, data: bytes) -> None:
    """A recording is for its owner's eyes."""
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            os.fchmod(stream.fileno(), 0o600)
            stream.write(data)
    except OSError as error:
        raise Problem(f"{target} cannot be written: {error.strerror}") from error


def _relay_of(pillar: Pillar, recording: str) -> str:
    for row in kept(pillar):
        if row["id"] == recording:
            return str(row["relay"])
    raise Problem(f"There is no recording {recording}", "", "./voip recordings list")
