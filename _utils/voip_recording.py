"""Sealed recordings: whoever has the public key can write one, only the private key opens it.

A file: magic, length and JSON of the header, then chunks of AES-256-GCM. Each file has a key of its
own, agreed between an ephemeral X25519 key (RFC 7748) in the header and the recordings' key, by
HKDF-SHA256 (RFC 5869). A chunk's nonce is its number and whether it is the last one, so that chunks
can be neither reordered nor cut off; the header is authenticated with each of them.
"""

import hashlib
import json
import os
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MAGIC = b"VOIPREC1"
CHUNK = 65536
_TAG = 16
_LENGTH = struct.Struct("!I")
_HEADER_LIMIT = 4096


class SealError(ValueError):
    """Not a sealed recording, not sealed for this key, changed, or cut off."""


def private_key(secret):
    """Return the private key that belongs to a secret of the Vault (str of at least 128 bits)."""
    seed = _derive(secret.encode(), b"voip-stack recordings key", b"")
    return X25519PrivateKey.from_private_bytes(seed)


def public_hex(key):
    """Return a private key's public half, 64 hexadecimal digits."""
    raw = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return raw.hex()


def key_id(public):
    """Return the name of a key (hexadecimal digits): which one a recording is sealed for."""
    return hashlib.sha256(bytes.fromhex(public)).hexdigest()[:16]


def seal(public, source, target, about):
    """Read `source` to its end and write it to `target`, sealed for the key `public`.

    about: dict, goes into the header readable by everybody and changeable by nobody.
    """
    ephemeral = X25519PrivateKey.generate()
    header = {"key": key_id(public), "ephemeral": public_hex(ephemeral), "about": about}
    shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(bytes.fromhex(public)))
    head = json.dumps(header, sort_keys=True).encode()
    cipher = AESGCM(_derive(shared, head, bytes.fromhex(public)))
    target.write(MAGIC + _LENGTH.pack(len(head)) + head)
    number, chunk = 0, source.read(CHUNK)
    while True:
        following = source.read(CHUNK) if len(chunk) == CHUNK else b""
        is_last = not following
        target.write(cipher.encrypt(_nonce(number, is_last), chunk, head))
        if is_last:
            return
        number, chunk = number + 1, following


def read_header(source):
    """Return (header, its bytes), `source` left at the first chunk. Raises SealError."""
    start = source.read(len(MAGIC) + _LENGTH.size)
    if len(start) != len(MAGIC) + _LENGTH.size or not start.startswith(MAGIC):
        raise SealError("not a sealed recording")
    (size,) = _LENGTH.unpack(start[len(MAGIC) :])
    head = source.read(size) if size <= _HEADER_LIMIT else b""
    try:
        header = json.loads(head)
        header["key"], header["ephemeral"]
    except (ValueError, KeyError, TypeError) as err:
        raise SealError("the header of a sealed recording is damaged") from err
    return header, head


def unseal(key, source, target):
    """Write what `source` holds to `target`; returns the header's `about`.

    key: the private key. Raises SealError; then what was written so far must not be used.
    """
    header, head = read_header(source)
    public = public_hex(key)
    if header["key"] != key_id(public):
        raise SealError(f"sealed for the key {header['key']}, not for {key_id(public)}")
    try:
        peer = X25519PublicKey.from_public_bytes(bytes.fromhex(header["ephemeral"]))
        shared = key.exchange(peer)
    except ValueError as err:
        raise SealError("the header of a sealed recording is damaged") from err
    cipher = AESGCM(_derive(shared, head, bytes.fromhex(public)))
    number, chunk = 0, source.read(CHUNK + _TAG)
    while True:
        following = source.read(CHUNK + _TAG) if len(chunk) == CHUNK + _TAG else b""
        is_last = not following
        try:
            target.write(cipher.decrypt(_nonce(number, is_last), chunk, head))
        except InvalidTag as err:
            raise SealError("the recording was changed or cut off") from err
        if is_last:
            return header.get("about", {})
        number, chunk = number + 1, following


def seal_file(public, source, target, about):
    """Seal the file `source` as the file `target`, whole or not at all (0600)."""
    temporary = f"{target}.new"
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as sink, open(source, "rb") as stream:
        seal(public, stream, sink, about)
        sink.flush()
        os.fsync(sink.fileno())
    os.replace(temporary, target)


def _nonce(number, is_last):
    return struct.pack("!QI", number, 1 if is_last else 0)


def _derive(secret, salt, info):
    kdf = HKDF(hashes.SHA256(), 32, salt=salt, info=b"voip-stack recording " + info)
    return kdf.derive(secret)
