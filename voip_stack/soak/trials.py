"""Put a trial on a running deployment, and take it back whatever happened."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from voip_stack import deployment, identity, paths
from voip_stack.certificates import renew as renewals
from voip_stack.master import client
from voip_stack.pillar import Pillar, trial
from voip_stack.problem import Problem
from voip_stack.providers.base import Provider

Progress = Callable[[str], None]
RENEW_S = 90
REFRESH_S = 120
APPLY_S = 180


def begin(pillar: Pillar, provider: Provider, wanted: trial.Trial, progress: Progress) -> None:
    """Every host has the trial's values from now on. Problem where that must not be."""
    if provider.name == "hosts":
        raise Problem(
            "Real servers are given no trial",
            "provider hosts",
            "try it in a lab: ./voip up --provider lab in another checkout",
            2,
        )
    trial.lay_over(pillar, wanted)  # refused before it lies there
    deployment.write_atomic(trial.file(paths.state_dir()), wanted.model_dump_json() + "\n")
    _refresh(pillar, progress)
    if wanted.certificate_ttl_s is not None:
        renew(pillar, progress)
    if wanted.load is not None:
        _apply(proxies(pillar), progress)


def lift() -> bool:
    """Take a trial off the pillar. Returns whether there was one, and `finish` is to be called.

    It is remembered until that is done: what is interrupted in between is found by the next run.
    """
    file = trial.file(paths.state_dir())
    if file.exists():
        file.replace(_ending())
    return _ending().exists()


def finish(pillar: Pillar, progress: Progress) -> None:
    """After `lift`: everything is of its ordinary values again."""
    over = trial.parse(_ending())
    _refresh(pillar, progress)
    if over is not None and over.certificate_ttl_s is not None:
        # A state run during the trial took its lives for what the PKI's roles may sign.
        _apply([identity.provisioner(pillar)], progress, mods=["vault"])
        renew(pillar, progress)
    if over is not None and over.load is not None:
        _apply(proxies(pillar), progress)
    _ending().unlink(missing_ok=True)


def end(pillar: Pillar, progress: Progress) -> bool:
    """Take a trial back, one that a crash left as well. Returns whether there was one."""
    if not lift():
        return False
    finish(pillar, progress)
    return True


def _ending() -> Path:
    return trial.file(paths.state_dir()).with_suffix(".ending")


def _refresh(pillar: Pillar, progress: Progress) -> None:
    progress("pillar and beacons of every minion")
    job = client.run(
        pillar.minions(), "saltutil.refresh_pillar", keywords={"wait": True}, deadline_s=REFRESH_S
    )
    if job.silent or job.failed:
        silent = ", ".join(sorted({*job.silent, *job.failed}))
        raise Problem(f"{silent} took no new pillar", f"job {job.jid}", "./voip status")


def proxies(pillar: Pillar) -> list[str]:
    """Hosts that a trial's load passes."""
    return [name for name in pillar.minions() if "sip" in pillar.hosts[name].roles]


def _apply(hosts: list[str], progress: Progress, mods: Sequence[str] = ()) -> None:
    """Apply `mods`, or all that these hosts are. Problem when one did not."""
    named = ", ".join(hosts)
    progress(f"states of {named}")
    job = client.apply(hosts, mods=mods, deadline_s=APPLY_S)
    if job.silent or job.failed:
        raise Problem(f"{named} did not apply its states", f"job {job.jid}", "./voip up goes on")


def renew(pillar: Pillar, progress: Progress) -> None:
    """Every certificate anew, of the life that pillar gives it now; hosts side by side."""
    every = renewals.held(pillar)
    done: list[str] = []

    def of(host: str) -> None:
        for where, name in every:
            if where == host:
                client.call(host, "voip_pki.renew", name, timeout_s=RENEW_S)
                done.append(name)
                progress(f"{len(done)} of {len(every)} certificates renewed")

    with ThreadPoolExecutor() as pool:
        list(pool.map(of, sorted({host for host, _ in every})))


def words(on: trial.Trial) -> str:
    """What `voip status` says of a trial."""
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(on.began))
    said = []
    if on.certificate_ttl_s is not None:
        said.append(f"every certificate lives {on.certificate_ttl_s} s")
    if on.load is not None:
        said.append(f"{on.load.requests} requests of a source at once")
        said.append(f"{on.load.registrations} registrations a second")
        said += [f"{address} may speak cleartext SIP" for address in on.load.trunks]
    return f"trial: {', '.join(said)} since {since}; ./voip up takes it back"
