"""Schema of pillar/packages.yaml: where each component's packages come from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Source = Literal["debian", "local", "vendor", "backport", "source"]
PackageName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.+-]+$")]
# A word of a file name or a recipe: never a path.
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+~-]*$")]


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Vendor(Model):
    """The project's own Debian repository. key: a file in salt/packages/files/keys/."""

    uri: Annotated[str, Field(pattern=r"^https?://[^\s]+$")]
    suite: Word
    components: Annotated[list[Word], Field(min_length=1)] = ["main"]
    key: Word


class Tarball(Model):
    """The project's release tarball. url may be absent where VOIP_LOCAL_SOURCES has the file."""

    name: Word
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    url: Annotated[str, Field(pattern=r"^https?://[^\s]+$")] | None = None


class ComponentPackages(Model):
    """sources: tried in this order. install: the packages that the host gets, the first of which
    carries the component's version."""

    sources: Annotated[list[Source], Field(min_length=1)]
    install: Annotated[list[PackageName], Field(min_length=1)]
    vendor: Vendor | None = None
    tarball: Tarball | None = None

    @model_validator(mode="after")
    def _described(self) -> ComponentPackages:
        if "vendor" in self.sources and self.vendor is None:
            raise ValueError("source `vendor` needs a `vendor:` with uri, suite and key")
        if "source" in self.sources and self.tarball is None:
            raise ValueError("source `source` needs a `tarball:` with name and sha256")
        return self


class Packages(Model):
    local_dir: str | None = None
    components: dict[str, ComponentPackages]
