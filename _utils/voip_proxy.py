"""What both proxies share: values worked out of the pillar, and how their files converge."""

import contextlib
import difflib
import os
import subprocess

from salt.exceptions import CommandExecutionError
from voip_ng import refused_suites

TLS_DIR = "/etc/voip-stack/tls"

# TLS 1.2 with forward secrecy and AEAD only; TLS 1.3 has no others.
CIPHERS = (
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256"
)

# RTPEngine flags that every message carries.
MEDIA_COMMON = "replace-origin replace-session-connection strict-source"


def media_relay_url(voip, name):
    """Return the control socket of a relay, by its name; it is there wherever the relay is."""
    port = voip["ports"]["rtpengine"]["ng"]
    address = next(item["internal"] for item in voip["relays"] if item["name"] == name)
    return f"udp:{address}:{port}"


def media_flags(suites, has_ipv6=False):
    """Return [(name, RTPEngine flags)] by kind of recipient; all of them are SRTP.

    suites: list of the SRTP suites that may be offered (RFC 4568 and RFC 7714 names). has_ipv6:
    devices may have it; the PBX, whose network is IPv4, gets an offer of that all the same.
    """
    refused = " ".join(refused_suites(suites))
    sdes = f"{MEDIA_COMMON} RTP/SAVP ICE=remove rtcp-mux-demux {refused}".rstrip()
    browser = f"{MEDIA_COMMON} UDP/TLS/RTP/SAVPF ICE=force rtcp-mux-offer generate-mid SDES-off"
    return [
        ("V_MEDIA_PBX", f"{sdes} address-family=IP4" if has_ipv6 else sdes),
        ("V_MEDIA_DEVICE", sdes),
        ("V_MEDIA_BROWSER", browser),
        ("V_MEDIA_ANSWER", f"{MEDIA_COMMON} {refused}".rstrip()),
    ]


def fetched(salt, source, main, saltenv="base"):
    """Return {name: text} of the routing files below `source`, a salt:// directory.

    salt: the minion's __salt__. main: the file that includes the others. Raises
    CommandExecutionError where one cannot be had.
    """
    root = source.removeprefix("salt://").rstrip("/") + "/"
    files = {}
    for path in salt["cp.list_master"](saltenv, prefix=root):
        if path.endswith(".cfg"):
            cached = salt["cp.cache_file"](f"salt://{path}", saltenv)
            if not cached:
                raise CommandExecutionError(f"salt://{path} could not be fetched")
            with open(cached, encoding="utf-8") as file:
                files[path.removeprefix(root)] = file.read()
    if main not in files:
        raise CommandExecutionError(f"no {main} below {source}")
    return files


def checked(command, directory, reasons):
    """Run a proxy's own parser on the configuration in `directory`; returns True.

    reasons: function that picks them out of what the parser wrote. Raises CommandExecutionError
    with file, line and reason when the configuration is refused.
    """
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode == 0:
        return True
    found = reasons(done.stderr + done.stdout)
    where = "; ".join(reason.replace(f"{directory}/", "") for reason in found)
    raise CommandExecutionError(
        f"the proxy's parser refuses the new configuration, the old one stays: {where}"
    )


def current_files(directory, names):
    """Return {name: text} of those of `names` that exist in `directory`."""
    found = {}
    for name in names:
        with (
            contextlib.suppress(FileNotFoundError),
            open(os.path.join(directory, name), encoding="utf-8", errors="replace") as file,
        ):
            found[name] = file.read()
    return found


def changed_files(current, wanted, context_lines=2, limit_lines=60):
    """Compare {name: text}; return {name: unified diff}, an empty dict when equal.

    A name that only `current` has is a removal. Diffs are cut at limit_lines.
    """
    changes = {}
    for name in sorted({*current, *wanted}):
        old, new = current.get(name), wanted.get(name)
        if old == new:
            continue
        diff = list(
            difflib.unified_diff(
                (old or "").splitlines(),
                (new or "").splitlines(),
                "absent" if old is None else name,
                "absent" if new is None else name,
                lineterm="",
                n=context_lines,
            )
        )
        if len(diff) > limit_lines:
            diff = [*diff[:limit_lines], f"... {len(diff) - limit_lines} more lines"]
        changes[name] = "\n".join(diff)
    return changes
