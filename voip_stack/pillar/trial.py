"""A trial: other lives for every certificate of a running deployment, until it is taken back.

It lies in the state directory, not among the user's files, and is laid over the pillar for each
minion: what is compiled from the life (renewal, its beacon's interval) follows. voip_stack/soak
puts it there and takes it away.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from voip_stack.pillar.schema import Pillar
from voip_stack.problem import Problem


class Trial(BaseModel):
    """certificate_ttl_s: the life of every certificate. renew_fraction: as pki.renew_fraction, None
    for the pillar's own. began: epoch."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    certificate_ttl_s: Annotated[int, Field(ge=60)]
    renew_fraction: Annotated[float, Field(gt=0, lt=1)] | None = None
    began: Annotated[float, Field(ge=0)]


def file(state_dir: Path) -> Path:
    return state_dir / "trial.json"


def read(state_dir: Path) -> Trial | None:
    """The trial that is on, None without one. Problem for a file that is none."""
    try:
        return Trial.model_validate(json.loads(file(state_dir).read_text()))
    except FileNotFoundError:
        return None
    except ValueError as error:  # pydantic's is one
        raise _refused(error, file(state_dir)) from error


def lay_over(pillar: Pillar, trial: Trial | None) -> Pillar:
    """The pillar with the trial's lives, validated as any other. Problem when it is refused."""
    if trial is None:
        return pillar
    values = pillar.model_dump(by_alias=True)
    for certificate in values["certificates"].values():
        certificate["ttl_s"] = trial.certificate_ttl_s
    if trial.renew_fraction is not None:
        values["pki"]["renew_fraction"] = trial.renew_fraction
    try:
        return Pillar.model_validate(values)
    except ValidationError as error:
        raise _refused(error, None) from error


def _refused(error: ValueError, where: Path | None) -> Problem:
    return Problem(
        f"The trial of other certificate lives is refused: {error}",
        str(where or ""),
        "./voip up takes a trial back",
    )
