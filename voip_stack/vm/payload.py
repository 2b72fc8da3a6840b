"""What the machine gets: the checkout's states as they are, media-1's pillar, a minion's key."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from voip_stack.paths import checkout, pillar_dir
from voip_stack.pillar import Pillar, compile_for, load

HOST = "media-1"
# What is applied: recordings are another matter, and need a Vault.
SLS = "rtpengine.module"
GUEST = Path(__file__).parent / "guest"
EXTENSIONS = ("_beacons", "_modules", "_states", "_utils")


@dataclass(frozen=True)
class Payload:
    """archive: a tar.gz; pillar: media-1's, as the master would give it; public_key: PEM."""

    archive: bytes
    pillar: dict[str, Any]
    public_key: bytes


def make() -> Payload:
    pillar = compile_for(alone(load(pillar_dir())), HOST, {"provider": "lab"})
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    texts = {
        "pillar/top.sls": json.dumps({"base": {"*": ["voip"]}}).encode(),
        "pillar/voip.sls": json.dumps({"voip": pillar}).encode(),
        "pki/minion.pem": private,
        "pki/minion.pub": public,
    }
    return Payload(_archive(texts), pillar, public)


def alone(pillar: Pillar) -> Pillar:
    """The pillar where the machine's host is the only media host: no other takes it over."""
    hosts = {
        name: host.model_copy(update={"relay": None, "external_ipv6": None})
        for name, host in pillar.hosts.items()
        if name == HOST or "media" not in host.roles
    }
    roles = pillar.roles | {"devstack": []}
    return pillar.model_copy(update={"hosts": hosts, "roles": roles})


def _archive(texts: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=6) as archive:
        for name in ("media.py", "load.py", "levels.py"):
            archive.add(GUEST / name, name)
        for item in sorted((checkout() / "salt").iterdir()):
            if item.name in EXTENSIONS or not item.name.startswith("_"):
                archive.add(item.resolve(), f"salt/{item.name}", filter=_without_caches)
        # Later of two entries wins: Salt's own `event` needs a bus.
        archive.add(GUEST / "event.py", "salt/_modules/event.py")
        # Where a beacon finds it in a minion's cache: beside its own directory.
        link = tarfile.TarInfo("salt/utils")
        link.type, link.linkname = tarfile.SYMTYPE, "_utils"
        archive.addfile(link)
        for name, data in texts.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o600
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def _without_caches(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if "__pycache__" in entry.name else entry
