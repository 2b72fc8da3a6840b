"""What the master does when a host cannot get newer revocation lists: a person must look."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from voip_stack.events.alerts import raise_alert
from voip_stack.events.handlers import Data


class Stale(Data):
    """detail: which components, why, until when; in one line."""

    detail: Annotated[str, Field(max_length=400, pattern=r"^[^\x00-\x1f\x7f]*$")]


def stale(host: str, data: Stale) -> None:
    """Its lists are in use still, and less than half of their life is left."""
    raise_alert("revocation/stale", host, data.detail)


def unchecked(host: str, data: Stale) -> None:
    """A daemon of it serves, and takes revoked certificates: it has no list that is good."""
    raise_alert("revocation/unchecked", host, data.detail)
