"""The pillar as it is where nobody comes by IPv6: the platform's own without its lines of that."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from voip_stack import paths


def pillar_dir(directory: Path) -> Path:
    """A copy of the checkout's pillar below `directory`, without IPv6."""
    copy = directory / "pillar"
    shutil.copytree(paths.pillar_dir(), copy)
    topology = copy / "topology.yaml"
    text = re.sub(r",\s*external_ipv6:[^,}]*(?=[,}])", "", topology.read_text())
    text = re.sub(r"(?m)^ +(external_)?ipv6:.*\n", "", text)
    topology.write_text(text)
    return copy
