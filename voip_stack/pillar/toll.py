"""Schema of pillar/toll.yaml: allowed destinations, limits per subscriber, bans."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, IPvAnyNetwork, model_validator

# Not among the destinations that pillar defines: calls inside are allowed to everybody.
INTERNAL = "internal"
ClassName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
Prefix = Annotated[str, Field(pattern=r"^\+[1-9][0-9]{0,14}$")]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Calls(_Model):
    """Of one subscriber: calls that are up or ringing, and calls begun within a minute."""

    at_once: Annotated[int, Field(ge=1, le=1000)]
    per_minute: Annotated[int, Field(ge=1, le=100_000)]


class AuthFailures(_Model):
    """Wrong passwords within window_s: of a user from one source, and of a source in all."""

    user: Annotated[int, Field(ge=1)]
    source: Annotated[int, Field(ge=1)]
    window_s: Annotated[int, Field(ge=1)]
    ban_s: Annotated[int, Field(ge=1)]


class Toll(_Model):
    country_code: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,2}$")]
    destinations: dict[ClassName, Annotated[list[Prefix], Field(min_length=1)]]
    allowed: list[ClassName]
    calls: Calls
    auth_failures: AuthFailures
    connections_per_source: Annotated[int, Field(ge=1, le=1_000_000)]
    large_sources: dict[IPvAnyNetwork, Annotated[int, Field(ge=1, le=1_000_000)]]
    slow_s: Annotated[int, Field(ge=1, le=300)]
    idle_s: Annotated[int, Field(ge=1, le=3600)]

    @model_validator(mode="after")
    def _consistent(self) -> Toll:
        if INTERNAL in self.destinations:
            raise ValueError(f"destinations: no class {INTERNAL} expected: it is always allowed")
        known_names = {*self.destinations, INTERNAL}
        if unknown := sorted(set(self.allowed) - known_names):
            known = ", ".join(sorted(known_names))
            raise ValueError(f"allowed: {', '.join(unknown)}: one of {known} expected")
        owner: dict[str, str] = {}
        for name, prefixes in self.destinations.items():
            for prefix in prefixes:
                if owner.setdefault(prefix, name) != name:
                    raise ValueError(f"destinations: {prefix} is in {owner[prefix]} already")
        return self


def names(unchecked: Any) -> frozenset[str] | None:
    """What may stand where a subscriber's allowed destinations are named; None where it is not
    known, since `toll` as it is in the file, unchecked, is none."""
    defined = unchecked.get("destinations") if isinstance(unchecked, dict) else None
    return frozenset({*map(str, defined), INTERNAL}) if isinstance(defined, dict) else None
