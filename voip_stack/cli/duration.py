"""Durations as people write them."""

from __future__ import annotations

import re

from voip_stack.problem import Problem

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(text: str) -> float:
    """Seconds of "90s", "30m", "12h", "7d". Problem for anything else."""
    found = re.fullmatch(r"(\d{1,6})([smhd])", text.strip())
    if not found or not int(found.group(1)):
        raise Problem(f"{text!r} is no duration", "", "a number and s, m, h or d: 30m", 2)
    return float(int(found.group(1)) * UNITS[found.group(2)])
