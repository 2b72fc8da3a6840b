"""RTPEngine's ng protocol: requests, replies and what `query` tells (docs/ng_control_protocol.md).

A message is a cookie, a space and a bencoded dictionary; the reply repeats the cookie.
"""

import voip_bencode
from salt.exceptions import CommandExecutionError

# Every suite that RTPEngine 10.5 offers by itself. It has no option to offer only some, so what
# policy does not name is refused one by one (flag `SDES-no-<suite>` of each offer).
SUITES = (
    "AEAD_AES_256_GCM",
    "AEAD_AES_128_GCM",
    "AES_256_CM_HMAC_SHA1_80",
    "AES_256_CM_HMAC_SHA1_32",
    "AES_192_CM_HMAC_SHA1_80",
    "AES_192_CM_HMAC_SHA1_32",
    "AES_CM_128_HMAC_SHA1_80",
    "AES_CM_128_HMAC_SHA1_32",
    "F8_128_HMAC_SHA1_80",
    "F8_128_HMAC_SHA1_32",
    "NULL_HMAC_SHA1_80",
    "NULL_HMAC_SHA1_32",
)


class Refused(CommandExecutionError):
    """RTPEngine answered, with an error; the message is its reason."""


class NoSuchCall(Refused):
    """The call-id is unknown: the call never was, or ended more than `delete_delay_s` ago."""


def request(cookie, command, **arguments):
    """Return the datagram for one command. Underscores in argument names become hyphens."""
    body = {"command": command}
    body |= {name.replace("_", "-"): value for name, value in arguments.items()}
    return cookie.encode() + b" " + voip_bencode.encode(body)


def reply(data, cookie):
    """Return the reply's dictionary, or None when data answers another request.

    Raises Malformed (not bencode), NoSuchCall or Refused.
    """
    head, _, body = data.partition(b" ")
    if head != cookie.encode():
        return None
    answer = voip_bencode.decode(body)
    if not isinstance(answer, dict):
        raise voip_bencode.Malformed("the reply is not a dictionary")
    if answer.get("result") == "error":
        reason = answer.get("error-reason", "no reason given")
        raise (NoSuchCall if reason == "Unknown call-id" else Refused)(reason)
    return answer


def legs(answer, interfaces=None):
    """Return one entry for each RTP stream of a `query` reply, in the order of its tags.

    A branch that was offered and never answered has no remote end, and no entry.

    interfaces: {address: name} of RTPEngine's own addresses.
    Each entry: tag, media ("audio"), protocol, interface, local and remote ("address:port"), srtp
    (the SDES suite that the peer uses, None for clear RTP), packets, bytes, errors (received from
    the peer since the call began), strict_source.
    """
    found = []
    for tag, party in answer.get("tags", {}).items():
        for media in party.get("medias", []):
            for stream in media.get("streams", []):
                if "RTP" in stream.get("flags", []) and stream.get("endpoint"):
                    found.append(_leg(tag, media, stream, interfaces or {}))
    return found


def _leg(tag, media, stream, interfaces):
    end = stream.get("endpoint", {})
    local = stream.get("local address")
    stats = stream.get("stats", {})
    return {
        "tag": tag,
        "media": media.get("type"),
        "protocol": media.get("protocol"),
        "interface": interfaces.get(local),
        "local": endpoint(local, stream.get("local port")),
        "remote": endpoint(end.get("address"), end.get("port")),
        "srtp": stream.get("crypto suite"),
        "packets": stats.get("packets", 0),
        "bytes": stats.get("bytes", 0),
        "errors": stats.get("errors", 0),
        "strict_source": "strict source address" in stream["flags"],
    }


def endpoint(address, port):
    """Return "address:port", of IPv6 "[address]:port" (RFC 3986)."""
    return f"[{address}]:{port}" if ":" in str(address) else f"{address}:{port}"


def loss(answer):
    """Return {ssrc: {packets lost and the like}} from the receiver reports that passed through.

    Empty until the first RTCP report (RFC 3550: about five seconds into the call).
    """
    kept = ("cumulative loss", "average packet loss", "average jitter", "average round-trip time")
    return {
        ssrc: {name: entry[name] for name in kept if name in entry}
        for ssrc, entry in answer.get("SSRC", {}).items()
    }


def refused_suites(allowed):
    """Return the ng flags that leave only `allowed` of RTPEngine's SRTP suites.

    Raises ValueError for a name that RTPEngine does not know: it would be offered nowhere.
    """
    unknown = sorted(set(allowed) - set(SUITES))
    if unknown:
        raise ValueError(f"unknown SRTP suites: {', '.join(unknown)}")
    return [f"SDES-no-{suite}" for suite in SUITES if suite not in allowed]
