"""The steps of `./voip up`. Each is idempotent: run again, it finds its work done and goes on."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

from voip_stack import deployment, paths, providers
from voip_stack.cache import Cache
from voip_stack.master import client, config, daemon, keys
from voip_stack.packages import prepare
from voip_stack.packages.prepare import packages_dir
from voip_stack.pillar import Pillar, load
from voip_stack.problem import Problem
from voip_stack.providers.base import Provider
from voip_stack.soak import trials
from voip_stack.steps import Step, Steps
from voip_stack.up import converge, machine
from voip_stack.up.summary import Summary

MINION_DEADLINE_S = 120


def run(name: str | None, *, yes: bool, dry_run: bool = False) -> Summary:
    """Bring everything up. name: the provider, None for the recorded or detected one."""
    # Before the lock and the log: a refused pillar touches nothing at all.
    pillar = load(paths.pillar_dir())
    provider = providers.deployed(pillar, name)
    _same_provider(name)
    if dry_run:
        return _say_only(pillar, provider)
    with Steps("up") as steps:
        summary = Summary(provider.name, timings=steps.timings, log=steps.log_path)
        with steps.step("Check the pillar") as step:
            step.done(f"{len(pillar.hosts)} hosts, {len(pillar.subscribers)} subscribers")
        _machine(steps, provider, yes)
        deployment.update(provider=provider.name, converged=None)
        with steps.step("Prepare the packages") as step:
            _packages(step, pillar, summary)
        with steps.step("Prepare the network and the master's keys") as step:
            keys.accept_only(pillar.minions())
            provider.prepare_network(step)
        with steps.step("Start the Salt master") as step:
            step.done(start_master(pillar, provider))
        with steps.step("Start the guests") as step:
            provider.ensure_guests(step)
            summary.notes += provider.notes()
            step.done(f"{len(provider.guests())} guests")
        with steps.step("Wait for the minions") as step:
            wait_for_minions(pillar, step)
        trial_lifted = trials.lift()
        with steps.step("Converge the hosts with Salt") as step:
            done = converge.orchestrate("up", step)
            summary.hosts = done.hosts
            step.done(
                ", ".join(f"{host}: {len(r.changed)} changed" for host, r in done.hosts.items())
            )
        if trial_lifted:
            with steps.step("Take back a trial") as step:
                trials.finish(pillar, step)
        with steps.step("Keep what was downloaded for the next time") as step:
            provider.settle(step)
        deployment.update(converged=time.strftime("%Y-%m-%dT%H:%M:%S%z"))
        summary.total_s = time.monotonic() - steps.started
    return summary


def _same_provider(name: str | None) -> None:
    recorded = deployment.read().get("provider")
    if name and recorded and name != recorded:
        raise Problem(
            f"This checkout is deployed with the provider {recorded}",
            str(paths.deployment_file()),
            f"./voip destroy first, then ./voip up --provider {name}",
        )


def suits(provider: Provider) -> machine.Plan:
    """What is to be installed for `provider`. Problem where this machine cannot hold its guests."""
    found = machine.look(provider.packages_needed())
    plan = machine.plan(found)
    if not (found.is_root and plan.install):
        # Before packages are asked for: where root is needed, they would not help.
        _refuse(provider)
    if plan.problem:
        raise plan.problem
    return plan


def _machine(steps: Steps, provider: Provider, yes: bool) -> None:
    with steps.step("Check this machine") as step:
        plan = suits(provider)
        step.done("nothing is missing" if not plan.install else f"{len(plan.install)} missing")
    if plan.install:
        install(steps, plan.install, yes)
        _refuse(provider)


def _refuse(provider: Provider) -> None:
    for problem in provider.problems():
        raise problem


def install_missing(names: tuple[str, ...], yes: bool) -> None:
    """Have these Debian packages, asking once where they are missing. Problem where none can be."""
    plan = machine.plan(machine.look(names))
    if plan.problem:
        raise plan.problem
    if plan.install:
        with Steps("packages") as steps:
            install(steps, plan.install, yes)


def install(steps: Steps, names: tuple[str, ...], yes: bool) -> None:
    steps.line(f"    Debian packages to install: {' '.join(names)}")
    if not yes and sys.stdin.isatty():
        import typer

        if not typer.confirm("    Install them with apt-get?", default=True, err=True):
            raise Problem("Not installed: you said no", "", f"apt-get install {' '.join(names)}", 3)
    how = "mend what apt-get names (sources, network, disk), then ./voip up"
    with steps.step("Install Debian packages") as step:
        environment = {"DEBIAN_FRONTEND": "noninteractive"}
        step.run(["apt-get", "-q", "update"], env=environment, how=how)
        step.run(
            ["apt-get", "-qy", "--no-install-recommends", "install", *names],
            env=environment,
            how=how,
        )
        step.done(" ".join(names))


def _packages(step: Step, pillar: Pillar, summary: Summary) -> None:
    choices = prepare(pillar, machine.architecture(), Cache(), step)
    deployment.update(packages={name: choice.facts() for name, choice in choices.items()})
    summary.unavailable = {
        name: str(choice) for name, choice in choices.items() if choice.source is None
    }
    for why in summary.unavailable.values():
        step.note(why)
    step.done(", ".join(f"{name}: {c.source or 'unavailable'}" for name, c in choices.items()))


def start_master(pillar: Pillar, provider: Provider) -> str:
    """Write the configuration, start the master; restart it when configuration or code changed."""
    ports = (pillar.master.publish, pillar.master.request)
    check_s = pillar.rotation.check_interval_s
    changed = config.write(provider.master_address, ports, packages_dir(), check_s)
    if daemon.is_running() and (changed or daemon.is_outdated()):
        daemon.stop()
    return "started" if daemon.start() else "running"


def wait_for_minions(pillar: Pillar, progress: Callable[[str], None]) -> None:
    """Until every minion answers. Problem that names those that do not."""
    missing = client.ping(pillar.minions(), MINION_DEADLINE_S, progress)
    if missing:
        raise Problem(
            f"No answer from the minion of {', '.join(missing)} in {MINION_DEADLINE_S} s",
            str(daemon.log_file()),
            f"./voip logs {missing[0]} salt-minion",
        )


def _say_only(pillar: Pillar, provider: Provider) -> Summary:
    plan = machine.plan(machine.look(provider.packages_needed()))
    lines = [f"pillar: {len(pillar.hosts)} hosts, {len(pillar.subscribers)} subscribers: valid"]
    lines.append(f"provider: {provider.name}")
    lines.append(f"Debian packages to install: {' '.join(plan.install) or 'none'}")
    running = {name: guest.state for name, guest in provider.guests().items()}
    for host in pillar.hosts:
        lines.append(f"guest {host}: {running.get(host, 'to be made')}")
    lines.append(f"Salt master: {'running' if daemon.is_running() else 'to be started'}")
    lines.append(f"then state.apply on {', '.join(pillar.minions())}")
    if os.geteuid() or not plan.install:  # else what would find out may be among the missing
        lines += [f"but: {problem}" for problem in provider.problems()]
    if plan.problem:
        lines.append(f"but: {plan.problem}")
    print("\n".join(lines))
    return Summary(provider.name)
