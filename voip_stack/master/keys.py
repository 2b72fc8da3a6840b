"""Salt's key pairs, made before the first boot: nobody is accepted who was not declared.

The master's pair and each minion's are made here. The minion's public key is put among the
accepted ones; the private one and the master's public key go into the guest with its image.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from voip_stack import paths
from voip_stack.deployment import write_atomic

# Salt's own default. It loads (and checks) the key some twenty times in a state run: 3072 bits cost
# each minion 1.3 s more of CPU, per run.
KEY_BITS = 2048


@dataclass(frozen=True)
class MinionKeys:
    """Files of one minion, for its /etc/salt/pki/minion/: minion.pem, .pub, minion_master.pub."""

    private: Path
    public: Path
    master_public: Path


def pki_dir() -> Path:
    return paths.master_dir() / "pki"


def ensure_master() -> Path:
    """Make the master's key pair unless it exists. Returns the public key's path."""
    return _ensure_pair(pki_dir(), "master")[1]


def ensure_minion(name: str) -> MinionKeys:
    """Make `name`'s key pair unless it exists, and accept exactly that public key."""
    master_public = ensure_master()
    private, public = _ensure_pair(paths.master_dir() / "minions" / name, "minion")
    accepted = pki_dir() / "minions"
    accepted.mkdir(parents=True, exist_ok=True)
    write_atomic(accepted / name, public.read_text(), 0o644)
    return MinionKeys(private, public, master_public)


def accepted() -> list[str]:
    """Names of the minions whose keys the master accepts."""
    directory = pki_dir() / "minions"
    return sorted(path.name for path in directory.iterdir()) if directory.is_dir() else []


def accept_only(names: list[str]) -> list[str]:
    """Make keys for `names`, forget every other minion. Returns the names forgotten."""
    for name in names:
        ensure_minion(name)
    gone = [name for name in accepted() if name not in names]
    for name in gone:
        forget(name)
    return gone


def forget(name: str) -> None:
    """Remove a minion's pair and its acceptance."""
    for directory in ("minions", "minions_pre", "minions_rejected", "minions_denied"):
        (pki_dir() / directory / name).unlink(missing_ok=True)
    home = paths.master_dir() / "minions" / name
    for file in ("minion.pem", "minion.pub"):
        (home / file).unlink(missing_ok=True)
    if home.is_dir():
        home.rmdir()


def fingerprint(public: Path) -> str:
    """SHA-256 over the key's base64 body, as `salt-key --finger` prints it."""
    body = b"".join(public.read_bytes().splitlines(keepends=True)[1:-1])
    digest = hashlib.sha256(body).hexdigest()
    return ":".join(digest[index : index + 2] for index in range(0, len(digest), 2))


def _ensure_pair(directory: Path, name: str) -> tuple[Path, Path]:
    private, public = directory / f"{name}.pem", directory / f"{name}.pub"
    if private.exists() and public.exists():
        return private, public
    directory.mkdir(parents=True, exist_ok=True)
    os.chmod(directory, 0o700)
    key = rsa.generate_private_key(65537, KEY_BITS)
    # The traditional form: what Salt itself writes and every Salt reads.
    text = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    ).decode()
    body = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    # The public half last: a pair is only used when both are there.
    write_atomic(private, text, 0o400)
    write_atomic(public, body.decode(), 0o644)
    return private, public
