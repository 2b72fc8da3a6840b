"""Read what dpkg and apt say: status file, package index, candidates, fetch errors. No I/O."""

import re

_RECORD = re.compile(
    r"^Package: (?P<name>\S+)\n(?:.*\n)*?"
    r"Status: (?P<status>.*)\n(?:.*\n)*?Version: (?P<version>\S+)$",
    re.MULTILINE,
)
_REASON = re.compile(
    r"(?:Could not (?:connect|resolve)|Temporary failure|Connection (?:failed|refused|timed out)|"
    r"\d{3}  [A-Z][a-z]+|Hash Sum mismatch|File has unexpected size)[^\n]*"
)


def installed(status):
    """{package: version} of what is completely installed, from /var/lib/dpkg/status.

    A package of two architectures is listed once. Half-configured ones are not there: installing
    again is what mends them.
    """
    found = {}
    for paragraph in status.split("\n\n"):
        record = _RECORD.match(paragraph.lstrip("\n"))
        if record and record["status"].split()[1:] == ["ok", "installed"]:
            found[record["name"]] = record["version"]
    return found


def index(packages):
    """[{file, sha256, size}] of a flat repository's Packages file."""
    rows = []
    for paragraph in packages.split("\n\n"):
        fields = dict(re.findall(r"^(Filename|SHA256|Size): (.*)$", paragraph, re.MULTILINE))
        if len(fields) == 3:
            name = fields["Filename"].removeprefix("./")
            rows.append({"file": name, "sha256": fields["SHA256"], "size": int(fields["Size"])})
    return rows


def candidates(policy):
    """{package: candidate version} from `apt-cache policy`; packages without one are left out."""
    pairs = re.findall(r"^(\S+):\n(?:  .*\n)*?  Candidate: (\S+)$", policy, re.MULTILINE)
    return {name: version for name, version in pairs if version != "(none)"}


def errors(output):
    """What apt and dpkg call errors in their output, joined; "" when there are none.

    dpkg gives the reason, such as a full disk, in an indented line of its own.
    """
    found = re.findall(r"^(E: .*|dpkg: error.*(?:\n[ \t]+\S.*)*)", output, re.MULTILINE)
    return "; ".join(" ".join(text.split()) for text in found)


def fetch_failure(output):
    """One sentence about what apt could not download, from its output; None if that was not it."""
    uris = re.findall(r"(?:Failed to fetch|Err:\d+) (\S+://\S+)", output)
    if not uris:
        return None
    reason = _REASON.search(output)
    because = f" ({reason[0].strip()})" if reason else ""
    more = len(set(uris)) - 1
    also = f" and {more} more" if more else ""
    return (
        f"The package archive did not deliver {uris[0]}{also}{because}: check that this host "
        "reaches it (apt-get update), then apply the state again"
    )
