"""Bencode, as RTPEngine's ng protocol uses it (BEP 3): integers, strings, lists, dictionaries.

Strings are UTF-8 text on both sides; RTPEngine sends no binary data.
"""

from salt.exceptions import CommandExecutionError

_DEPTH = 32  # replies nest about eight levels; more is not RTPEngine


class Malformed(CommandExecutionError):
    """Bytes that are not one complete bencoded value."""


def encode(value):
    """Return value (int, str, list, dict) as bytes. Raises TypeError for anything else."""
    if isinstance(value, bool):
        raise TypeError("bencode has no booleans: ng wants a word or an integer")
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, str):
        data = value.encode()
        return b"%d:%s" % (len(data), data)
    if isinstance(value, list | tuple):
        return b"l" + b"".join(encode(item) for item in value) + b"e"
    if isinstance(value, dict):
        items = sorted((key.encode(), item) for key, item in value.items())
        return b"d" + b"".join(b"%d:%s%s" % (len(k), k, encode(v)) for k, v in items) + b"e"
    raise TypeError(f"bencode has no {type(value).__name__}")


def decode(data):
    """Return the value in data (bytes). Raises Malformed when it is cut, nested or followed."""
    try:
        value, end = _decode(data, 0, 0)
    except (ValueError, IndexError, RecursionError) as err:
        raise Malformed(f"not bencode: {err}") from err
    if end != len(data):
        raise Malformed(f"{len(data) - end} bytes follow the value")
    return value


def _decode(data, at, depth):
    if depth > _DEPTH:
        raise ValueError("nested too deep")
    kind = data[at : at + 1]
    if kind == b"i":
        end = data.index(b"e", at)
        return int(data[at + 1 : end]), end + 1
    if kind == b"l":
        return _sequence(data, at + 1, depth)
    if kind == b"d":
        flat, end = _sequence(data, at + 1, depth)
        if len(flat) % 2 or not all(isinstance(key, str) for key in flat[::2]):
            raise ValueError("a dictionary wants pairs with text keys")
        return dict(zip(flat[::2], flat[1::2], strict=True)), end
    if not kind.isdigit():
        raise ValueError(f"unexpected byte {kind!r} at {at}")
    colon = data.index(b":", at, at + 11)
    start = colon + 1
    end = start + int(data[at:colon])
    if end > len(data):
        raise ValueError("a string is cut")
    return data[start:end].decode("utf-8", "replace"), end


def _sequence(data, at, depth):
    items = []
    while data[at : at + 1] != b"e":
        if at >= len(data):
            raise ValueError("no end")
        item, at = _decode(data, at, depth + 1)
        items.append(item)
    return items, at + 1
