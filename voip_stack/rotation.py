"""What rotates, and the steps of it: the pure part, which the master and the minions share."""

from __future__ import annotations

import sys

from voip_stack import paths

sys.path.append(str(paths.CHECKOUT / "_utils"))

import voip_credentials as credentials

__all__ = ["credentials"]
