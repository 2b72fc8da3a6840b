"""What Asterisk's configuration says, worked out from pillar: dialled patterns, codecs, proxies."""

import re

from voip_proxy import location_name

FORWARDS = ("always", "busy", "no_answer", "unreachable")
CODECS = {"PCMA": "alaw", "PCMU": "ulaw", "G722": "g722", "opus": "opus"}

# The one suite that Asterisk's SDES offers (res_pjsip_sdp_rtp, with srtp_tag_32 off).
SRTP_SUITE = "AES_CM_128_HMAC_SHA1_80"


def patterns(lengths):
    """Return the dialplan patterns of the subscribers: one for each first digit and length.

    lengths: of numbers, by their first digit. {"1": [4], "2": [4]} gives ["_1XXX", "_2XXX"]: a new
    subscriber of a known range changes nothing in the PBX, and the proxy answers 404 for those who
    are none.
    Raises ValueError for anything but digits (it would be dialplan syntax).
    """
    wrong = [first for first in lengths if not re.fullmatch(r"[0-9]", first)]
    if wrong:
        raise ValueError(f"not a digit to dial: {wrong[0]!r}")
    return sorted(
        f"_{first}{'X' * (length - 1)}" for first, found in lengths.items() for length in found
    )


def forwards(found, ring_timeout_s):
    """Return [{number, ring_s, always, busy, no_answer, unreachable, voicemail}], "" for what is
    not said.

    found: {number: {kind: number, after_s, voicemail}} of the pillar. ring_timeout_s: of who says
    none. voicemail: the box for what no forward takes.
    Raises ValueError for anything but a number (it would be dialplan syntax).
    """
    rows = []
    for number, wanted in sorted(found.items()):
        targets = {kind: wanted.get(kind, "") for kind in (*FORWARDS, "voicemail")}
        for word in (number, *filter(None, targets.values())):
            if not re.fullmatch(r"[+]?[0-9]+", word, re.ASCII):
                raise ValueError(f"not a number to dial: {word!r}")
        rows.append({"number": number, "ring_s": wanted.get("after_s", ring_timeout_s)} | targets)
    return rows


def codecs(names):
    """Return Asterisk's names of codecs, in the order of policy. Raises ValueError for others."""
    unknown = [name for name in names if name not in CODECS]
    if unknown:
        raise ValueError(f"Asterisk is built without codec {unknown[0]}")
    return [CODECS[name] for name in names]


def plan(voip):
    """Return all that the templates need beside addresses and ports.

    voip: pillar['voip'] of a PBX host. Gives codecs, patterns, forwards, boxes, proxies
    ([{name, address, fqdn}]), daemons ([{name, port}]: what runs on each of them) and registrars
    ([{name, host, address, port}]: where a callee may be, name as the proxies tell it).
    Raises ValueError when policy names no SRTP suite that Asterisk has.
    """
    routing = voip["routing"]
    rows = forwards(voip["subscribers"]["forwards"], routing["ring_timeout_s"])
    ports = {name: voip["ports"][name]["sip-tls"] for name in voip["proxies"]}
    if SRTP_SUITE not in routing["srtp_suites"]:
        raise ValueError(f"Asterisk speaks {SRTP_SUITE} only, which policy does not allow")
    return {
        "codecs": codecs(routing["codecs"]),
        "patterns": patterns(voip["subscribers"]["lengths"]),
        "forwards": rows,
        "boxes": sorted({row["voicemail"] for row in rows} - {""}),
        "proxies": [
            {"name": name, "address": host["internal"], "fqdn": host["fqdn"]}
            for name, host in sorted(voip["hosts"].items())
            if "sip" in host["roles"]
        ],
        "daemons": [{"name": name, "port": port} for name, port in ports.items()],
        "registrars": [
            {
                "name": location_name(name, daemon),
                "host": name,
                "address": host["internal"],
                "port": port,
            }
            for name, host in sorted(voip["hosts"].items())
            if "sip" in host["roles"]
            for daemon, port in ports.items()
        ],
    }


def trial_config(text, directory, room):
    """Return asterisk.conf's text for a trial: read from directory, everything written to room."""
    sections = re.split(r"^(?=\[)", text, flags=re.MULTILINE)
    kept = "".join(item for item in sections if not item.startswith("[directories]"))
    written = ("astrundir", "astdbdir", "astlogdir", "astspooldir", "astkeydir", "astcachedir")
    paths = {"astetcdir": directory} | dict.fromkeys(written, room)
    lines = ["[directories]", *(f"{name} => {path}" for name, path in paths.items())]
    return "\n".join([*lines, "", kept])


def counters(text, direction):
    """Return {packets, lost, jitter_ms} of direction "rx" or "tx" from CHANNEL(rtcp,all).

    text: "ssrc=1;themssrc=2;lp=0;rxjitter=0.000;rxcount=50;txjitter=...;txcount=...;rlp=0;rtt=...":
    lp are packets that Asterisk misses, rlp those that the peer reported missing. None for what is
    not there (no media yet).
    """
    fields = dict(item.split("=", 1) for item in (text or "").split(";") if "=" in item)
    lost = {"rx": "lp", "tx": "rlp"}[direction]
    jitter = _number(fields.get(f"{direction}jitter"))
    return {
        "packets": _integer(fields.get(f"{direction}count")),
        "lost": _integer(fields.get(lost)),
        "jitter_ms": None if jitter is None else round(jitter * 1000, 3),
    }


def _number(text):
    try:
        return float(text)
    except (TypeError, ValueError):
        return None


def _integer(text):
    number = _number(text)
    return None if number is None else int(number)


def seconds(text):
    """Return a duration "00:01:05" in seconds, None for anything else."""
    parts = text.split(":")
    if len(parts) != 3 or not all(part.isdigit() for part in parts):
        return None
    hours, minutes, rest = map(int, parts)
    return hours * 3600 + minutes * 60 + rest


# Of the lines that a trial start writes: what makes a configuration wrong. Asterisk goes on without
# the part that it could not read, so each of these would be a call that fails later.
_WRONG = re.compile(r"\bERROR\[|\bWARNING\[.*?\]: (?:pbx_config|config|loader)\b")

# Not of the files: nobody is to be reached from the trial's namespace.
_ALONE = re.compile(r" (?:endpt_send_request|verify_log_result): ")


def complaints(output):
    """Return the lines of Asterisk's output that say a file is wrong, without colour and time."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", output)
    lines = [line.strip() for line in plain.splitlines()]
    wrong = (line for line in lines if _WRONG.search(line) and not _ALONE.search(line))
    found = dict.fromkeys(re.sub(r"^\[[^\]]*\] ", "", line) for line in wrong)
    return list(found)


def manager_sessions(text, user):
    """Return the descriptors of the sessions in `manager show connected` that are not `user`'s.

    text: the command's table: user name, address, start, elapsed, FileDes, HttpCnt, read, write.
    """
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 8 and words[-4].isdigit() and words[0] != user:
            found.append(int(words[-4]))
    return found
