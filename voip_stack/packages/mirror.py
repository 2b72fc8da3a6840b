"""The host's own Debian mirror, read from its apt configuration: no mirror is named in the tree."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from voip_stack.problem import Problem

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# What of the host's apt settings a chroot needs in order to reach the same mirror.
_PASSED_ON = re.compile(r"^Acquire::(https?|Check-|Retries|ForceIPv)", re.IGNORECASE)


@dataclass(frozen=True)
class Mirror:
    """debian, security: URIs without a trailing slash. options: lines of apt.conf."""

    debian: str
    security: str
    options: str = ""

    def archive(self, suite: str) -> str:
        """URI of the archive that has a suite."""
        return self.security if suite.endswith("-security") else self.debian

    def sources(self, suite: str, kind: str = "deb") -> str:
        """sources.list lines of a stable release with its updates and security updates."""
        lines = [
            f"{kind} {self.debian} {suite} main",
            f"{kind} {self.debian} {suite}-updates main",
            f"{kind} {self.security} {suite}-security main",
        ]
        return "\n".join(lines) + "\n"


def entries(text: str) -> list[tuple[str, str]]:
    """(URI, suite) of every enabled `deb` entry of a sources file, one-line or deb822."""
    found = []
    for line in text.splitlines():
        if match := re.match(r"deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+(\S+)", line):
            found.append((match[1].rstrip("/"), match[2]))
    for paragraph in re.split(r"\n\s*\n", text):
        fields = _fields(paragraph)
        if "deb" not in fields.get("types", []) or fields.get("enabled", ["yes"]) == ["no"]:
            continue
        uris, suites = fields.get("uris", []), fields.get("suites", [])
        found += [(uri.rstrip("/"), suite) for uri in uris for suite in suites]
    return found


def _fields(paragraph: str) -> dict[str, list[str]]:
    fields: dict[str, list[str]] = {}
    last = None
    for line in paragraph.splitlines():
        if line.startswith("#"):
            continue
        if match := re.match(r"([A-Za-z-]+):(.*)", line):
            last = match[1].lower()
            fields[last] = match[2].split()
        elif last and line[:1].isspace():
            fields[last] += line.split()
    return fields


def choose(found: list[tuple[str, str]], options: str = "") -> Mirror | None:
    """The Debian mirror among (URI, suite) pairs; None when none of them is Debian's."""
    security = next((uri for uri, suite in found if suite.endswith("-security")), None)
    releases = ("bookworm", "trixie", "forky", "sid", "stable", "testing", "unstable")
    debian = next((uri for uri, suite in found if suite in releases), None)
    if debian is None:
        return None
    return Mirror(debian, security or f"{debian}-security", options)


def host_mirror(etc: Path = Path("/etc/apt")) -> Mirror:
    """Raises Problem when this host has no Debian archive configured."""
    paths = [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*.list"))]
    paths += sorted((etc / "sources.list.d").glob("*.sources"))
    found = [pair for path in paths if path.is_file() for pair in entries(path.read_text())]
    mirror = choose(found, _host_options())
    if mirror is None:
        raise Problem(
            "No Debian archive is configured on this host.",
            where=f"{etc}/sources.list, {etc}/sources.list.d/",
            how="add a Debian mirror to apt's sources: packages are built from it",
        )
    return mirror


def _host_options() -> str:
    try:
        dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    lines = [line for line in dump.stdout.splitlines() if _PASSED_ON.match(line)]
    return "".join(f"{line}\n" for line in lines if '""' not in line)


def failed_uris(log: str) -> list[str]:
    """The URIs that apt could not fetch, from its messages, without repetition."""
    found = re.findall(r"(?:Failed to fetch|^Err:\d+) (\S+://\S+)", log, re.MULTILINE)
    return list(dict.fromkeys(found))


def fetch_problem(what: str, log: str) -> Problem:
    """A clear error for a mirror that does not answer, or no longer has a file."""
    uris = failed_uris(log) or ["(apt names no URI)"]
    reasons = re.findall(
        r"(?:Could not (?:connect|resolve)|Temporary failure|Connection (?:refused|timed out)|"
        r"404  Not Found|Hash Sum mismatch|not signed|NO_PUBKEY)[^\n]*",
        log,
    )
    more = f" and {len(uris) - 1} more" if len(uris) > 1 else ""
    return Problem(
        f"{what}: the package mirror did not deliver" + (f" ({reasons[0]})" if reasons else ""),
        where=uris[0] + more,
        how="check that this host reaches the mirror of its apt sources (`apt-get update`), "
        "then run the same command again: it goes on from here",
    )
