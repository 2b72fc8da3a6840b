"""Schema of pillar/components/*.yaml: each component's own settings.

Everything has a default, so that a component's file may be empty. Ports and addresses are not
here: they live in services.yaml and topology.yaml.
"""

from ipaddress import IPv4Address
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from voip_stack.pillar.packages import Tarball, Word


class Component(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Pooler(Component):
    """The local pooler's socket, at its own port. It holds the credential: none is here.

    name, locations: the database by the pooler's names, for locations by one of its `unwaited`.
    """

    socket_directory: Annotated[str, Field(pattern=r"^/[a-z0-9/_-]+$")] = "/run/pgbouncer"
    name: Annotated[str, Field(pattern=r"^[a-z_]+$")] = "kamailio"
    locations: Annotated[str, Field(pattern=r"^[a-z_]+$")] = "kamailio_locations"
    user: Annotated[str, Field(pattern=r"^[a-z_]+$")] = "kamailio"


# The two that have one policy. Each has an execution module of its name; what both can tell, they
# tell by functions of the same names.
PROXIES = ("kamailio", "opensips")


class Capacity(Component):
    """What a proxy is to hold at once: registered contacts, TLS and WebSocket connections."""

    contacts: Annotated[int, Field(ge=100, le=10_000_000)] = 100_000
    connections: Annotated[int, Field(ge=64, le=1_000_000)] = 6000


class Proxy(Component):
    """What either daemon itself needs; its policy is routing and toll."""

    children: Annotated[int, Field(ge=1, le=64)] = 2
    tcp_workers: Annotated[int, Field(ge=1, le=128)] = 4
    pkg_mib: Annotated[int, Field(ge=8, le=1024)] = 16
    # Of the loopback interface, so in no list of listeners: the link to Redis, one for both.
    location_port: Annotated[int, Field(ge=1024, le=65535)] = 6382
    database: Pooler = Pooler()


class Kamailio(Proxy):
    inside_workers: Annotated[int, Field(ge=1, le=128)] = 2
    capacity: Capacity = Capacity()
    owns_subscribers: bool = True


class Opensips(Proxy):
    max_connections: Annotated[int, Field(ge=64, le=1_000_000)] = 16384
    shm_mib: Annotated[int, Field(ge=64, le=65_536)] = 128


class Voicemail(Component):
    """extension: who calls it hears his own messages. message_s: the longest one. messages: in each
    folder of a box. keep_days: for how long a message is kept, heard or not."""

    extension: Annotated[str, Field(pattern=r"^\*\d{2}$")] = "*97"
    message_s: Annotated[int, Field(ge=5, le=3600)] = 180
    messages: Annotated[int, Field(ge=1, le=9999)] = 100
    keep_days: Annotated[int, Field(ge=1, le=3650)] = 30


class Asterisk(Component):
    qualify_s: Annotated[int, Field(ge=5, le=600)] = 30
    verbose: Annotated[int, Field(ge=0, le=5)] = 0
    max_calls: Annotated[int, Field(ge=1, le=10000)] = 500
    max_load: Annotated[float, Field(ge=0, le=64)] = 0
    tone_extension: Annotated[str, Field(pattern=r"^\*\d{2}$")] | None = "*44"
    voicemail: Voicemail = Voicemail()


class Failover(Component):
    """How relays that float notice a dead one. Of a relay: advert_ms is how often its host says
    that it lives (it is dead after three of them), dead_after_s is for how long it may not answer
    on a host that lives, start_s is its time to start."""

    advert_ms: Annotated[int, Field(ge=100, le=5000, multiple_of=10)] = 500
    dead_after_s: Annotated[float, Field(ge=0.5, le=60)] = 2
    start_s: Annotated[float, Field(ge=1, le=120)] = 15
    first_router: Annotated[int, Field(ge=1, le=200)] = 51


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
    recording_retention_days: Annotated[int, Field(ge=1, le=36500)] = 90
    # Of the loopback interface, so in no list of listeners.
    cli_port: Annotated[int, Field(ge=1024, le=65535)] = 2224
    # Forward in the kernel where the host has one of its own; the module's table for it.
    kernel_module: bool = True
    kernel_table: Annotated[int, Field(ge=0, le=63)] = 0
    # How often live calls are written to their Redis anew, with their SRTP counters.
    restate_s: Annotated[int, Field(ge=10, le=300)] = 240
    link_port: Annotated[int, Field(ge=1024, le=65535)] = 6381
    failover: Failover = Failover()


class Openbao(Component):
    log_level: Literal["warn", "info", "debug"] = "info"
    # Of the loopback interface and a cluster of one, so in no list of listeners.
    cluster_port: Annotated[int, Field(ge=1024, le=65535)] = 8201


class Database(Component):
    """roles: those whose hosts may log in. schema_files: a directory of versioned SQL files."""

    roles: Annotated[list[str], Field(min_length=1)]
    schema_files: Annotated[str, Field(pattern=r"^salt://[a-z0-9_/-]+$")] | None = None


class Postgresql(Component):
    """external: an existing server; nothing is installed, its administrator is in the Vault."""

    external: bool = False
    address: IPv4Address | None = None  # of an existing server
    version: Annotated[int, Field(ge=15, le=30)] = 17
    timescaledb: bool = True
    max_connections: Annotated[int, Field(ge=20, le=10_000)] = 200
    shared_buffers_mib: Annotated[int, Field(ge=16, le=1_048_576)] = 128
    # By the owner's name: one database and one role per component.
    databases: dict[Annotated[str, Field(pattern=r"^[a-z_]{1,63}$")], Database] = {}


class RedisUser(Component):
    """What the hosts of a role may touch: key and channel patterns, command rules."""

    keys: Annotated[list[str], Field(min_length=1)]
    channels: list[str] = []
    commands: Annotated[
        list[Annotated[str, Field(pattern=r"^[+-]@?[a-z|-]+$")]], Field(min_length=1)
    ]


class Redis(Component):
    """external: as for PostgreSQL."""

    external: bool = False
    address: IPv4Address | None = None
    maxmemory_mib: Annotated[int, Field(ge=16, le=1_048_576)] = 256
    users: dict[str, RedisUser] = {}


class Callstore(Component):
    """The Redis of live calls: in memory only, since it holds their SRTP keys."""

    maxmemory_mib: Annotated[int, Field(ge=16, le=1_048_576)] = 128
    users: dict[str, RedisUser] = {}


class LibraryPart(Tarball):
    """A release that the web phone's library is made of. main: what `require(module)` gives."""

    module: Word
    main: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*\.js$")]


class Webphone(Component):
    """library: what the page's SIP library is made of; the first one is what the page uses."""

    library: Annotated[list[LibraryPart], Field(min_length=1)]


class Pgbouncer(Component):
    # Of a socket and the loopback interface, so in no list of listeners.
    port: Annotated[int, Field(ge=1024, le=65535)] = 6432
    group: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_-]{0,31}$")] = "voip-db"
    databases: list[Annotated[str, Field(pattern=r"^[a-z_]{1,63}$")]] = []
    # {another name: database}: by which no commit waits for the disk.
    unwaited: dict[
        Annotated[str, Field(pattern=r"^[a-z_]{1,63}$")],
        Annotated[str, Field(pattern=r"^[a-z_]{1,63}$")],
    ] = {}
    max_client_connections: Annotated[int, Field(ge=10, le=100_000)] = 400
    pool_size: Annotated[int, Field(ge=1, le=1000)] = 20
