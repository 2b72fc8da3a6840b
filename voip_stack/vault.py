"""The control host's view of the Vault: the `operator` identity, and subscribers' passwords.

The identity is kept in <state>/vault/operator.json (0600) and is worth nothing elsewhere: it is
bound to the control host's address. It arrives through Salt as a wrapping token, when it is
needed first.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import urllib3

from voip_stack import deployment, paths, providers
from voip_stack.pillar import Pillar, load
from voip_stack.problem import Problem
from voip_stack.providers.base import Provider

# The client, its errors and the layout of passwords are shared with the minions.
sys.path.append(str(paths.CHECKOUT / "_utils"))

import voip_errors
import voip_subscribers
import voip_vault_client

ROLE = "operator"


def subscriber_passwords(numbers: Iterable[str]) -> dict[str, str]:
    """The SIP passwords of `numbers`; who has none is absent from the answer."""
    pillar = load(paths.pillar_dir())
    found: dict[str, str] = {}
    try:
        session = _session(pillar, providers.deployed(pillar))
        for shard, members in voip_subscribers.by_shard(numbers).items():
            try:
                document = session.read(f"{pillar.vault.kv_mount}/data/{shard}")["data"]
            except voip_errors.NotFound:
                continue
            found |= {number: document[number] for number in members if number in document}
    except voip_errors.CommandExecutionError as error:
        raise Problem(
            f"The Vault gives no passwords: {error}", str(identity_file()), "./voip status"
        ) from error
    return found


def identity_file() -> Path:
    return paths.state_dir() / "vault" / "operator.json"


def _session(pillar: Pillar, provider: Provider) -> Any:
    """A session logged in as the operator; enrolled first where that is due."""
    identity = _identity()
    if identity is not None:
        try:
            return _login(pillar, provider, identity)
        except voip_errors.Denied:
            pass  # expired, or of a lab that is gone: a new one is issued
    return _login(pillar, provider, _enrol(pillar, provider))


def _login(pillar: Pillar, provider: Provider, identity: dict[str, Any]) -> Any:
    return _connect(pillar, provider).login(
        pillar.vault.approle_mount, identity["role_id"], identity["secret_id"]
    )


def _connect(pillar: Pillar, provider: Provider) -> Any:
    return voip_vault_client.Session(
        str(pillar.vault.address),
        pillar.services["openbao"]["api"].ports[0],
        pillar.vault.name,
        str(paths.ca_file()),
        adapter=partial(_Through, provider),
    )


def _enrol(pillar: Pillar, provider: Provider) -> dict[str, Any]:
    """Have the provisioning host issue a secret_id; unwrap and keep it."""
    from voip_stack.master import client

    issued = client.call(_provisioner(pillar), "voip_vault.issue", ROLE)
    identity = voip_vault_client.unwrap(
        _connect(pillar, provider),
        issued["wrap_token"],
        pillar.vault.approle_mount,
        ROLE,
        issued["role_id"],
    )
    file = identity_file()
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    deployment.write_atomic(file, json.dumps(identity), 0o600)
    return identity


def _identity() -> dict[str, Any] | None:
    try:
        return json.loads(identity_file().read_text())
    except (FileNotFoundError, ValueError):
        return None


def _provisioner(pillar: Pillar) -> str:
    for name in pillar.minions():
        if "devstack" in pillar.hosts[name].roles:
            return name
    raise Problem("No host provisions the Vault", "pillar/topology.yaml", "give one role devstack")


class _Through(voip_vault_client.NamedHost):
    """Connections that the provider opens: a lab's hosts answer in its own network only."""

    def __init__(self, provider: Provider, name: str, ca_file: str):
        self._provider = provider
        super().__init__(name, ca_file)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        provider = self._provider

        class Connection(urllib3.connection.HTTPSConnection):
            def _new_conn(self) -> Any:
                return provider.connect(self.host, self.port or 443)

        class Pool(urllib3.HTTPSConnectionPool):
            ConnectionCls = Connection

        self.poolmanager.pool_classes_by_scheme = {"https": Pool}
