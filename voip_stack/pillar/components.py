"""Schema of pillar/components/*.yaml: each component's own settings.

Everything has a default, so that a component's file may be empty. Ports and addresses are not
here: they live in services.yaml and topology.yaml.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Component(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AuthFailures(Component):
    count: Annotated[int, Field(ge=1)] = 10
    window_s: Annotated[int, Field(ge=1)] = 300


class Kamailio(Component):
    children: Annotated[int, Field(ge=1, le=64)] = 2
    tcp_workers: Annotated[int, Field(ge=1, le=128)] = 4
    max_connections: Annotated[int, Field(ge=64, le=1_000_000)] = 16384
    shm_mib: Annotated[int, Field(ge=64, le=65_536)] = 128
    pkg_mib: Annotated[int, Field(ge=8, le=1024)] = 16
    # Without a password: the local pooler holds the credential.
    database_url: Annotated[str, Field(pattern=r"^postgres://[a-z_]+@[a-z0-9.:-]*/[a-z_]+$")] = (
        "postgres://kamailio@127.0.0.1:6432/kamailio"
    )
    digest_algorithm: Literal["MD5", "SHA-256"] = "MD5"
    auth_failures: AuthFailures = AuthFailures()
    max_calls_per_user: Annotated[int, Field(ge=1)] = 10
    probe_interval_s: Annotated[int, Field(ge=1, le=3600)] = 10
    retry_after_s: Annotated[int, Field(ge=1, le=3600)] = 10
    # Each becomes part of a regular expression inside a quoted string of the routing language.
    scanners: list[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]] = ["friendly-scanner"]


class Asterisk(Component):
    qualify_s: Annotated[int, Field(ge=5, le=600)] = 30
    verbose: Annotated[int, Field(ge=0, le=5)] = 0
    max_calls: Annotated[int, Field(ge=1, le=10000)] = 500
    max_load: Annotated[float, Field(ge=0, le=64)] = 0
    tone_extension: Annotated[str, Field(pattern=r"^\*\d{2}$")] | None = "*44"


class Rtpengine(Component):
    # Below 7 always: at debug RTPEngine writes private keys and SRTP keys to its log.
    log_level: Annotated[int, Field(ge=2, le=6)] = 5
    timeout_s: Annotated[int, Field(ge=10, le=3600)] = 60
    silent_timeout_s: Annotated[int, Field(ge=60, le=86400)] = 3600
    final_timeout_s: Annotated[int, Field(ge=600, le=604800)] = 43200
    offer_timeout_s: Annotated[int, Field(ge=30, le=7200)] = 300
    delete_delay_s: Annotated[int, Field(ge=0, le=600)] = 30
    # DSCP EF (RFC 3246) in the six high bits.
    tos: Annotated[int, Field(ge=0, le=255)] = 184
    max_sessions: Annotated[int, Field(ge=1, le=100000)] = 2000
    # Of the loopback interface, so in no list of listeners.
    cli_port: Annotated[int, Field(ge=1024, le=65535)] = 2224


class Openbao(Component):
    pass


class Postgresql(Component):
    pass


class Redis(Component):
    pass


class Pgbouncer(Component):
    pass
