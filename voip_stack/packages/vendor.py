"""The project's own Debian repository, signed by a key that is in this tree.

The hosts fetch from it themselves; here is only asked whether it can be used at all.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

from voip_stack import paths
from voip_stack.pillar.packages import Vendor

_TIMEOUT_S = 5


def key_file(vendor: Vendor) -> Path:
    return paths.CHECKOUT / "salt" / "packages" / "files" / "keys" / vendor.key


def release_uri(vendor: Vendor) -> str:
    return f"{vendor.uri.rstrip('/')}/dists/{vendor.suite}/InRelease"


def unavailable(vendor: Vendor) -> str | None:
    """Why the repository cannot be used; None when it can."""
    reasons = []
    if not key_file(vendor).is_file():
        reasons.append(f"its key {vendor.key} is not in salt/packages/files/keys/")
    uri = release_uri(vendor)
    try:
        with urllib.request.urlopen(uri, timeout=_TIMEOUT_S):  # noqa: S310 - http(s) by schema
            pass
    except (urllib.error.URLError, OSError) as error:
        reasons.append(f"{uri} does not answer ({getattr(error, 'reason', error)})")
    return "; ".join(reasons) or None
