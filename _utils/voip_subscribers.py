"""Where a subscriber's password lies in the Vault, and what the database holds instead of it."""

import hashlib
import zlib

# Fixed for good: another number would move every password. 100,000 subscribers are about 800 to a
# document, some 40 KiB; a storage entry of the Vault may have 1 MiB.
SHARDS = 128
SHARD_DIRECTORY = "subscribers"
SAMPLE = 5


def shard_path(number):
    """Return the KV path (below the mount) of the document that holds a number's password.

    The document is {number: password}.
    """
    return f"{SHARD_DIRECTORY}/{zlib.crc32(number.encode()) % SHARDS:03d}"


def by_shard(numbers):
    """Return {KV path: [number, ...]}, both sorted."""
    shards = {}
    for number in sorted(numbers):
        shards.setdefault(shard_path(number), []).append(number)
    return dict(sorted(shards.items()))


def credentials(number, realm, password):
    """Return (ha1, ha1b, ha1_sha256): RFC 3261's digest, the same for number@realm, RFC 7616's."""
    text = f"{number}:{realm}:{password}".encode()
    text_with_realm = f"{number}@{realm}:{realm}:{password}".encode()
    return (
        hashlib.md5(text, usedforsecurity=False).hexdigest(),
        hashlib.md5(text_with_realm, usedforsecurity=False).hexdigest(),
        hashlib.sha256(text).hexdigest(),
    )


def desired_digest(realm, numbers):
    """Return a fingerprint of what is wanted: the realm and which numbers, not their passwords."""
    return hashlib.sha256("\n".join([realm, *sorted(numbers)]).encode()).hexdigest()


def changes(added, changed, removed):
    """Return a state's `changes`: numbers and a bounded sample, {} when nothing differs.

    Each argument: (count, sample of numbers).
    """
    found = {}
    for name, (count, sample) in (("added", added), ("changed", changed), ("removed", removed)):
        if count:
            found[name] = {"count": count, "sample": list(sample or [])[:SAMPLE]}
    return found
