"""The control host's view of the Vault: the `operator` identity, and subscribers' passwords.

The identity is kept in <state>/vault/operator.json (0600) and is worth nothing elsewhere: it is
bound to the control host's address. It arrives through Salt as a wrapping token, when it is
needed first.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import urllib3

from voip_stack import deployment, identity, paths, providers
from voip_stack.pillar import Pillar, load
from voip_stack.problem import Problem
from voip_stack.providers.base import Provider

# The client, its errors and the layout of passwords are shared with the minions.
sys.path.append(str(paths.CHECKOUT / "_utils"))

import voip_errors
import voip_subscribers
import voip_vault_client
import voip_vault_identity

ROLE = "operator"


def subscriber_passwords(numbers: Iterable[str]) -> dict[str, str]:
    """The SIP passwords of `numbers`; who has none is absent from the answer."""
    return password_reader()(numbers)


def password_reader() -> Callable[[Iterable[str]], dict[str, str]]:
    """What does as `subscriber_passwords`, logged in already."""
    pillar = load(paths.pillar_dir())
    with _told():
        session = _session(pillar, providers.deployed(pillar))

    def read(numbers: Iterable[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        with _told():
            for shard, members in voip_subscribers.by_shard(numbers).items():
                try:
                    document = session.read(f"{pillar.vault.kv_mount}/data/{shard}")["data"]
                except voip_errors.NotFound:
                    continue
                words = voip_subscribers.passwords(document)
                found |= {number: words[number] for number in members if number in words}
        return found

    return read


@contextmanager
def _told() -> Iterator[None]:
    """The Vault's refusals as a Problem."""
    try:
        yield
    except voip_errors.CommandExecutionError as error:
        raise Problem(
            f"The Vault gives no passwords: {error}", str(identity_file()), "./voip status"
        ) from error


def recording_secrets(host: str, limit: int = 10) -> Iterator[str]:
    """The secrets that `host`'s recordings are or were sealed for, the newest first."""
    pillar = load(paths.pillar_dir())
    path = f"{pillar.vault.kv_mount}/data/hosts/{host}/recordings"
    try:
        session = _session(pillar, providers.deployed(pillar))
        newest = session.read(path)
        yield newest["data"]["password"]
        last = newest["metadata"]["version"]
        for version in range(last - 1, max(0, last - limit), -1):
            try:
                yield session.read(f"{path}?version={version}")["data"]["password"]
            except voip_errors.NotFound:
                continue
    except voip_errors.CommandExecutionError as error:
        raise Problem(
            f"The Vault gives no key of {host}'s recordings: {error}",
            str(identity_file()),
            "./voip status",
        ) from error


def identity_file() -> Path:
    return paths.state_dir() / "vault" / "operator.json"


def _session(pillar: Pillar, provider: Provider) -> Any:
    """A session logged in as the operator; enrolled first where that is due."""
    own = _identity()
    if own is not None and own.get("accessor"):
        try:
            session = _login(pillar, provider, own)
            if not voip_vault_identity.is_due(own, pillar.vault.renew_fraction, session.now()):
                return session
        except voip_errors.Denied:
            pass  # expired, or of a lab that is gone: a new one is issued
    return _login(pillar, provider, _enrol(pillar, provider))


def _login(pillar: Pillar, provider: Provider, own: dict[str, Any]) -> Any:
    return _connect(pillar, provider).login(
        pillar.vault.approle_mount, own["role_id"], own["secret_id"]
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
    """Have the provisioning host issue a secret_id; unwrap, prove and keep it."""
    taken: dict[str, Any] = {}

    def accept(issued: dict[str, Any]) -> dict[str, str]:
        try:
            unwrapped = voip_vault_identity.unwrap(
                _connect(pillar, provider),
                issued["wrap_token"],
                pillar.vault.approle_mount,
                ROLE,
                issued["role_id"],
            )
        except voip_errors.WrapSpent as error:
            return {"spent": str(error)}
        taken.update(unwrapped)
        return {"accessor": unwrapped["accessor"]}

    delivery = identity.Delivery(identity.provisioner(pillar))
    accessor = delivery.deliver(ROLE, accept)
    _login(pillar, provider, taken)
    file = identity_file()
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    deployment.write_atomic(file, json.dumps(taken), 0o600)
    delivery.retire(ROLE, accessor)
    return taken


def _identity() -> dict[str, Any] | None:
    try:
        return json.loads(identity_file().read_text())
    except (FileNotFoundError, ValueError):
        return None


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
