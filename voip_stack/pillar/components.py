"""Schema of pillar/components/*.yaml and pillar/providers.yaml: each component's own settings.

Everything has a default, so that a component's file may be empty. Ports and addresses are not
here: they live in services.yaml and topology.yaml.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Component(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Kamailio(Component):
    children: Annotated[int, Field(ge=1, le=64)] = 2


class Asterisk(Component):
    pass


class Rtpengine(Component):
    pass


class Openbao(Component):
    pass


class Postgresql(Component):
    pass


class Redis(Component):
    pass


class Pgbouncer(Component):
    pass


class Providers(Component):
    pass
