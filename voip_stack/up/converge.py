"""Salt's part of `up`: run the orchestration, follow it on the event bus, gather what was done."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from voip_stack import paths
from voip_stack.master.results import HostResult, StateFailure, merge, orchestration_states, parse
from voip_stack.problem import Problem
from voip_stack.steps import Step

STATE_RUNS = ("state.highstate", "state.apply", "state.sls")
SHOWN_FAILURES = 8


@dataclass
class Run:
    """One orchestration's outcome."""

    hosts: dict[str, HostResult] = field(default_factory=dict)
    failures: list[StateFailure] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    # What each runner of the orchestration returned, by state ID.
    returned: dict[str, Any] = field(default_factory=dict)

    def take(self, host: str, returned: Any) -> HostResult:
        """Add one host's return."""
        result = parse(host, returned)
        self.hosts[host] = merge(self.hosts.get(host), result)
        self.failures += result.failures
        return result


def orchestrate(name: str, step: Step, pillar: dict[str, Any] | None = None) -> Run:
    """Run salt/orchestrate/NAME.sls to its end. Problem that names each failed state."""
    import salt.config
    import salt.utils.event

    run = Run()
    options = salt.config.client_config(str(paths.master_dir() / "master"))
    with (
        tempfile.TemporaryFile("w+") as output,
        # Before the orchestration starts: no return can be missed.
        salt.utils.event.get_event(
            "master", sock_dir=options["sock_dir"], opts=options, listen=True
        ) as bus,
    ):
        bus.connect_pub()
        process = subprocess.Popen(
            _command(name, pillar or {}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            while process.poll() is None:
                _follow(bus, run, step, wait=0.5)
            while _follow(bus, run, step, wait=0.2):
                pass
        except BaseException:
            process.terminate()
            process.wait()
            raise
        output.seek(0)
        _judge(run, output.read(), step)
    return run


def _command(name: str, pillar: dict[str, Any]) -> list[str]:
    program = str(Path(sys.executable).with_name("salt-run"))
    words = [program, "-c", str(paths.master_dir()), "--out=json", "--log-level=quiet"]
    words += ["state.orchestrate", f"orchestrate.{name}"]
    return [*words, f"pillar={json.dumps(pillar)}"] if pillar else words


def _follow(bus: Any, run: Run, step: Step, wait: float) -> bool:
    event = bus.get_event(tag="salt/job/", match_type="startswith", wait=wait, full=True)
    if not event:
        return False
    take(event["tag"].split("/"), event["data"], run, step)
    return True


def take(parts: list[str], data: dict[str, Any], run: Run, step: Step) -> None:
    """One event of a job: who began, who answered with what, who is waited for.

    No event per state is asked for: on four hosts with nothing to do they cost six seconds.
    """
    if parts[3:] == ["new"]:
        run.waiting = sorted(data.get("minions", []))
        step.say(f"{data.get('fun')} on {', '.join(run.waiting)}")
    elif parts[3] == "ret" and len(parts) == 5 and not parts[4].endswith("_master"):
        host = parts[4]
        run.waiting = [name for name in run.waiting if name != host]
        if data.get("fun") in STATE_RUNS:
            result = run.take(host, data.get("return"))
            for failure in result.failures:
                step.steps.log(f"FAILED {failure}")
            rest = f"; waiting for {', '.join(run.waiting)}" if run.waiting else ""
            step.say(f"{host}: {counts(result)}{rest}")


def counts(result: HostResult) -> str:
    """'41 states, 3 changed' with the failures when there are any."""
    failed = f", {len(result.failures)} failed" if result.failures else ""
    return f"{result.states} states, {len(result.changed)} changed{failed}"


def _judge(run: Run, output: str, step: Step) -> None:
    steps = orchestration_steps(output)
    for state_id, state in steps.items():
        if isinstance(changes := state.get("changes"), dict) and "return" in changes:
            run.returned[state_id.split("_|-")[1] if "_|-" in state_id else state_id] = changes[
                "return"
            ]
    for state_id, state in steps.items():
        step.steps.log(f"orchestration: {state_id}: {state.get('result')} {state.get('comment')}")
    if run.failures:
        shown = run.failures[:SHOWN_FAILURES]
        more = len(run.failures) - len(shown)
        lines = "\n".join(f"  {failure}" for failure in shown)
        hosts = ", ".join(sorted({failure.host for failure in run.failures}))
        rest = f"\n  and {more} more" if more else ""
        raise Problem(
            f"{_count(len(run.failures), 'state')} failed\n{lines}{rest}",
            hosts,
            "mend the cause, then ./voip up goes on from here",
        )
    if not steps:
        raise Problem(f"The orchestration did not run\n{output.strip()[-2000:]}", "salt-run")
    failed = [(key, state) for key, state in steps.items() if state.get("result") is False]
    causes = [(k, s) for k, s in failed if "requisite failed" not in str(s.get("comment"))]
    if failed:
        state_id, state = (causes or failed)[0]
        raise Problem(
            f"{state_id}: {str(state.get('comment')).strip()[:2000]}",
            f"salt/{str(state.get('__sls__', 'orchestrate.up')).replace('.', '/')}.sls",
            "./voip status and ./voip logs tell more; ./voip up goes on from here",
        )


def orchestration_steps(output: str) -> dict[str, dict[str, Any]]:
    """State ID -> state of an orchestration's JSON; {} when it is none."""
    start = output.find("{")
    try:
        # Salt's exit handlers print after the document.
        document = json.JSONDecoder().raw_decode(output[start:])[0] if start >= 0 else {}
    except ValueError:
        return {}
    return orchestration_states(document)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
