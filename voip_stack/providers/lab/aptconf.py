"""The guests' apt, from the host's: the same mirror, certificates and proxies."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from voip_stack.packages.mirror import Mirror

CERTIFICATES = Path("/usr/local/share/ca-certificates")
# Paths in the host's options that do not exist in a guest: its own bundle holds the same.
_HOST_FILES = re.compile(r"::(CaInfo|CaPath|IssuerCert)\b", re.IGNORECASE)

# Downloads are kept: they go back to the cache (debpool). No translations: less to fetch.
GUEST = """\
Acquire::Languages "none";
APT::Install-Recommends "false";
APT::Keep-Downloaded-Packages "true";
APT::Periodic::Enable "0";
DPkg::Lock::Timeout "120";
Dpkg::Use-Pty "0";
"""
# The lab's guests are made anew at will: a power cut costs a `./voip up`, not data.
DPKG = """\
force-unsafe-io
path-exclude=/usr/share/man/*
path-exclude=/usr/share/locale/*
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
"""


def options(mirror: Mirror) -> str:
    """apt.conf lines for image and guests."""
    kept = [line for line in mirror.options.splitlines() if not _HOST_FILES.search(line)]
    return GUEST + "".join(f"{line}\n" for line in kept)


def proxies(mirror: Mirror) -> list[tuple[str, int]]:
    """(host, port) of every proxy that the host's apt uses."""
    found = []
    for match in re.finditer(r'::https?::Proxy(?:::\S+)? "([^"]+)"', mirror.options, re.IGNORECASE):
        uri = urlsplit(match[1])
        if uri.hostname:
            found.append((uri.hostname, uri.port or 80))
    return sorted(set(found))


def certificates(directory: Path = CERTIFICATES) -> list[Path]:
    """The host's own certificate authorities, beyond those of Debian."""
    return sorted(directory.rglob("*.crt")) if directory.is_dir() else []
