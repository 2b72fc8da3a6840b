"""`./voip destroy`: the reverse of `up`. Every part may be gone already."""

from __future__ import annotations

import shutil
from pathlib import Path

from voip_stack import identity, paths, providers
from voip_stack.certificates import revocation
from voip_stack.master import config, daemon, keys
from voip_stack.pillar import Pillar, load
from voip_stack.problem import Problem
from voip_stack.steps import Step, Steps


def destroy_checkout(steps: Steps) -> None:
    """Remove what `up` made in this checkout; logs stay until the next `destroy`."""
    provider = providers.deployed(load(paths.pillar_dir()))
    with steps.step("Stop the Salt master") as step:
        step.done("stopped" if daemon.stop() else "was not running")
    with steps.step("Remove guests and network") as step:
        provider.destroy(step)
    with steps.step("Remove keys and state") as step:
        _forget_state()
        step.done(str(paths.state_dir()))


def destroy_host(host: str, steps: Steps) -> None:
    """Remove one host and everything that was its own; the next `up` makes another of that name.

    Its identity first: from then on nothing that the host held, or gave away, is worth anything.
    """
    pillar = load(paths.pillar_dir())
    provider = providers.deployed(pillar)
    if host == identity.provisioner(pillar):
        raise Problem(
            f"{host} keeps the identities of all the others",
            "pillar/topology.yaml: role devstack",
            "./voip destroy removes the whole platform",
        )
    if pillar.hosts[host].is_minion:
        with steps.step("Revoke its identity in the Vault") as step:
            done = identity.revoke(host)
            step.done(", ".join(f"{count} {what}" for what, count in done.items()))
        with steps.step("Tell the others that its certificates are revoked") as step:
            _tell(pillar, host, step)
    with steps.step(f"Remove {host}") as step:
        provider.remove(host, step)
    with steps.step("Forget its Salt key") as step:
        keys.forget(host)
        step.done(host)


def _tell(pillar: Pillar, host: str, step: Step) -> None:
    """The lists everywhere but on the host that goes; who misses them asks by itself."""
    try:
        told = revocation.refresh(pillar, without=host)
        step.done(", ".join(told) or "nobody checks")
    except Problem as problem:
        step.done(f"not all: {problem}")


def destroy_other(name: str, steps: Steps) -> None:
    """Remove another lab of this machine, its master included."""
    from voip_stack.providers.lab import registry

    with steps.step(f"Remove the lab {name}") as step:
        record = registry.find(name)
        providers.destroy_lab(name, step)
        if record is not None:
            shutil.rmtree(config.socket_dir(Path(record.state_dir)), ignore_errors=True)


def _forget_state() -> None:
    sockets = config.socket_dir()
    if sockets.parent != paths.master_dir():
        shutil.rmtree(sockets, ignore_errors=True)
    kept = {paths.logs_dir().name, "lock", "venv.lock"}
    for path in paths.state_dir().iterdir():
        if path.name in kept:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
