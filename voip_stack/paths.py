"""Where the checkout and its state directory are. Functions, so that a test can move them."""

from __future__ import annotations

import os
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]


def checkout() -> Path:
    return CHECKOUT


def pillar_dir() -> Path:
    return CHECKOUT / "pillar"


def state_dir() -> Path:
    """`.voip` of the checkout; VOIP_STATE_DIR overrides. Not created here."""
    return Path(os.environ.get("VOIP_STATE_DIR") or CHECKOUT / ".voip")


def cache_dir() -> Path:
    """Shared by every checkout of the user; VOIP_CACHE_DIR overrides."""
    return Path(os.environ.get("VOIP_CACHE_DIR") or Path.home() / ".cache" / "voip-stack")


def logs_dir() -> Path:
    return state_dir() / "logs"


def master_dir() -> Path:
    return state_dir() / "master"


def deployment_file() -> Path:
    """Facts that the provider and the package sources found out; the pillar reads them."""
    return state_dir() / "deployment.json"


def ca_file() -> Path:
    return state_dir() / "ca.crt"
