"""Debian version order, and which versions are refused. No I/O, no dunders."""

import re

_PART = re.compile(r"([^0-9]*)([0-9]*)")


def compare(first, second):
    """Compare two Debian versions: negative, 0 or positive, as first is lower, equal or higher.

    Debian policy, section 5.6.12: epoch, then upstream version, then revision; `~` sorts before
    everything, the end of the string included; letters before other characters.
    """
    mine, theirs = _split(first), _split(second)
    return (
        (mine[0] > theirs[0]) - (mine[0] < theirs[0])
        or _compare_part(mine[1], theirs[1])
        or _compare_part(mine[2], theirs[2])
    )


def lowest_safe(version, floor):
    """The lowest safe version on the branch that `version` belongs to; "" when there is no floor.

    floor: {minimum, safe, why, mended} from pillar `versions`. mended: {start of a version: the
    lowest safe one of that branch}, for fixes that were carried back.
    """
    branches = floor.get("mended", {})
    bare = _bare(version)
    branch = max((key for key in branches if bare.startswith(key)), key=len, default=None)
    return floor.get("safe", "") if branch is None else branches[branch]


def refusal(component, version, floor):
    """Why `version` of a component must not be installed, as one sentence; None when it may.

    A floor without an epoch is compared without it: Debian's epoch says nothing about the upstream
    release. An empty floor refuses nothing.
    """
    for lowest, kind in (
        (lowest_safe(version, floor), "safe"),
        (floor.get("minimum", ""), "usable"),
    ):
        if lowest and compare(version if ":" in lowest else _bare(version), lowest) < 0:
            return (
                f"{component} {version} is refused: older than {lowest}, the lowest {kind} version "
                f"({floor.get('why', '')})"
            )
    return None


def _bare(version):
    return version.split(":", 1)[-1]


def _split(version):
    epoch, _, rest = version.rpartition(":")
    upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "")
    return int(epoch or 0), upstream, revision


def _order(character):
    if character == "~":
        return -1
    if character.isalpha():
        return ord(character)
    return ord(character) + 256


def _compare_part(first, second):
    while first or second:
        mine, theirs = _PART.match(first), _PART.match(second)
        text = _compare_text(mine[1], theirs[1])
        if text:
            return text
        number = int(mine[2] or 0) - int(theirs[2] or 0)
        if number:
            return 1 if number > 0 else -1
        first, second = first[mine.end() :], second[theirs.end() :]
    return 0


def _compare_text(first, second):
    # The end of the text sorts after "~" and before everything else.
    for index in range(max(len(first), len(second))):
        mine = _order(first[index]) if index < len(first) else 0
        theirs = _order(second[index]) if index < len(second) else 0
        if mine != theirs:
            return 1 if mine > theirs else -1
    return 0
