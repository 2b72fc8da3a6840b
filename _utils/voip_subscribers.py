"""What of a subscriber is in the database, and where its password lies in the Vault."""

import base64
import hashlib
import zlib

# Fixed for good: another number would move every password. 100,000 subscribers are about 800 to a
# document, some 40 KiB; a storage entry of the Vault may have 1 MiB.
SHARDS = 128
SHARD_DIRECTORY = "subscribers"
SAMPLE = 5

# The one value of a document. A text and not a value for each: OpenBao refuses a request with more
# than 1000 JSON strings.
_KEY = "passwords"

# Of `subscriber`, what the pillar decides; the pillar's compiled rows have them in this order.
COLUMNS = (
    "username", "state", "display_name", "member_of", "destinations", "max_calls", "caller_id",
    "voicemail", "forward_always", "forward_busy", "forward_no_answer", "forward_unreachable",
    "forward_after_s",
)  # fmt: skip
# Of `dbaliases`.
ALIAS_COLUMNS = ("alias_username", "username")


def pack(text):
    """Return rows of CSV as they travel in the pillar: one string, so that no minion and no worker
    of the master holds a hundred thousand dictionaries."""
    return base64.b64encode(zlib.compress(text.encode(), 6)).decode()


def unpack(packed):
    """Return the CSV that `pack` took, as bytes: what COPY ... (FORMAT csv) reads."""
    return zlib.decompress(base64.b64decode(packed))


def numbers(packed):
    """Return the set of the numbers in packed rows: digits before the first comma."""
    return {line.partition(b",")[0].decode() for line in unpack(packed).splitlines()}


def shard_path(number):
    """Return the KV path (below the mount) of the document that holds a number's password."""
    return f"{SHARD_DIRECTORY}/{zlib.crc32(number.encode()) % SHARDS:03d}"


def passwords(document):
    """Return {number: password} of a document; of an older one too, which had a value for each."""
    found = dict(document)
    return found | dict(line.split(" ", 1) for line in found.pop(_KEY, "").splitlines())


def document(found):
    """Return the document of {number: password}: what `passwords` reads."""
    return {_KEY: "".join(f"{number} {word}\n" for number, word in sorted(found.items()))}


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


def changes(**found):
    """Return a state's `changes`: numbers and a bounded sample, {} when nothing differs.

    Each argument: (count, sample of numbers).
    """
    return {
        name: {"count": count, "sample": list(sample or [])[:SAMPLE]}
        for name, (count, sample) in found.items()
        if count
    }
