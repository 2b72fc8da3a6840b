"""A trial: other values for a while on a running deployment, until they are taken back.

It lies in the state directory, not among the user's files, and is laid over the pillar for each
minion: what is compiled from the values follows (of a certificate's life its renewal and its
beacon's interval). voip_stack/soak/trials.py puts it there and takes it away.
"""

from __future__ import annotations

import json
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from voip_stack.pillar.schema import Pillar
from voip_stack.problem import Problem


class Load(BaseModel):
    """What the proxies let through from a few addresses that stand for many devices.

    requests: of one source within routing.pike.seconds. registrations: in a second, of one source
    and of all. trunks: may speak cleartext SIP, beside the pillar's own.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests: Annotated[int, Field(ge=1)]
    registrations: Annotated[int, Field(ge=1)]
    trunks: list[IPv4Address] = []


class Trial(BaseModel):
    """certificate_ttl_s: the life of every certificate. renew_fraction: as pki.renew_fraction. None
    for the pillar's own. began: epoch."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    certificate_ttl_s: Annotated[int, Field(ge=60)] | None = None
    renew_fraction: Annotated[float, Field(gt=0, lt=1)] | None = None
    load: Load | None = None
    began: Annotated[float, Field(ge=0)]

    @model_validator(mode="after")
    def _says_something(self) -> Trial:
        if self.certificate_ttl_s is None and self.load is None:
            raise ValueError("certificate_ttl_s or load expected")
        return self


def file(state_dir: Path) -> Path:
    return state_dir / "trial.json"


def read(state_dir: Path) -> Trial | None:
    """The trial that is on, None without one. Problem for a file that is none."""
    return parse(file(state_dir))


def parse(path: Path) -> Trial | None:
    """The trial in a file, None where there is no file. Problem for one that is none."""
    try:
        return Trial.model_validate(json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except ValueError as error:  # pydantic's is one
        raise _refused(error, path) from error


def lay_over(pillar: Pillar, trial: Trial | None) -> Pillar:
    """The pillar with the trial's values, validated as any other. Problem when it is refused."""
    if trial is None:
        return pillar
    values = pillar.model_dump(by_alias=True)
    if trial.certificate_ttl_s is not None:
        for certificate in values["certificates"].values():
            certificate["ttl_s"] = trial.certificate_ttl_s
    if trial.renew_fraction is not None:
        values["pki"]["renew_fraction"] = trial.renew_fraction
    if trial.load is not None:
        values["routing"]["pike"]["requests"] = trial.load.requests
        registrations = values["routing"]["registrations"]
        registrations["per_second"] = registrations["per_source"] = trial.load.registrations
        values["routing"]["cleartext_trunks"] += trial.load.trunks
    try:
        return Pillar.model_validate(values)
    except ValidationError as error:
        raise _refused(error, None) from error


def _refused(error: ValueError, where: Path | None) -> Problem:
    return Problem(
        f"The trial is refused: {error}",
        str(where or ""),
        "./voip up takes a trial back",
    )
