"""Jobs on the minions through the master: ping, call, apply, with progress from its event bus.

Salt is imported inside: it costs half a second that `./voip --help` has no use for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from voip_stack import paths
from voip_stack.master import daemon
from voip_stack.problem import Problem

APPLY_DEADLINE_S = 1200
# How long a job's minions may stay silent before they are asked whether they still work on it.
SILENCE_S = 60
# How long minions may take to find a master that was restarted; who does not come is named later.
RESTARTED_S = 120
Progress = Callable[[str], None]


@dataclass
class Job:
    """A job's answers: {host: return}, and which hosts failed or did not answer."""

    jid: str = ""
    returns: dict[str, Any] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    silent: list[str] = field(default_factory=list)


def config_file() -> str:
    return str(paths.master_dir() / "master")


@contextmanager
def _local() -> Iterator[Any]:
    if not daemon.is_running():
        raise Problem("The Salt master does not run", str(daemon.log_file()), "./voip up")
    import salt.client

    client = salt.client.LocalClient(c_path=config_file())
    try:
        yield client
    finally:
        client.destroy()


def run(
    targets: Sequence[str],
    function: str,
    arguments: Sequence[Any] = (),
    keywords: dict[str, Any] | None = None,
    *,
    deadline_s: float = 60,
    progress: Progress | None = None,
) -> Job:
    """Run `function` on `targets`; return when each has answered or the deadline is over.

    The event bus tells the answers, so nothing is polled. progress gets "HOST: state" as states
    end, and "HOST answered".
    """
    import salt.utils.event

    job = Job()
    with _local() as client:
        options = client.opts
        # Listening before publishing: no answer can be missed.
        with salt.utils.event.get_event(
            "master", sock_dir=options["sock_dir"], opts=options, listen=True
        ) as bus:
            bus.connect_pub()
            published = client.run_job(
                list(targets),
                function,
                arg=[*arguments, {"__kwarg__": True, **keywords}] if keywords else list(arguments),
                tgt_type="list",
                timeout=10,
                listen=False,
            )
            job.jid = published.get("jid", "")
            waiting = set(targets)
            deadline = time.monotonic() + deadline_s
            heard = time.monotonic()
            doubtful: set[str] = set()
            while waiting and (left := deadline - time.monotonic()) > 0:
                if time.monotonic() - heard > SILENCE_S:
                    lost = _not_working(client, job.jid, waiting)
                    # Twice in a row: the answer may have crossed the first question.
                    waiting -= lost & doubtful
                    job.silent += sorted(lost & doubtful)
                    heard, doubtful = time.monotonic(), lost
                event = bus.get_event(
                    tag=f"salt/job/{job.jid}/",
                    match_type="startswith",
                    wait=min(left, 5),
                    full=True,
                )
                if event:
                    heard = time.monotonic()
                    _take(event, job, waiting, progress)
            job.silent += sorted(waiting)
    return job


def _not_working(client: Any, jid: str, hosts: set[str]) -> set[str]:
    """Those of `hosts` that do not say that they still work on the job."""
    answers = client.cmd(sorted(hosts), "saltutil.find_job", [jid], tgt_type="list", timeout=10)
    return {host for host in hosts if not answers.get(host)}


def _take(event: dict, job: Job, waiting: set[str], progress: Progress | None) -> None:
    parts, data = event["tag"].split("/"), event["data"]
    if len(parts) < 5:
        return
    kind, host = parts[3], parts[4]
    if kind == "ret" and host in waiting:
        job.returns[host] = data.get("return")
        if data.get("retcode", 0) or data.get("success") is False:
            job.failed.add(host)
        waiting.discard(host)
        if progress:
            progress(f"{host} answered")
    elif kind == "prog" and progress:
        progress(_state_line(host, data))


def _state_line(host: str, data: dict) -> str:
    returned = (data.get("data") or data).get("ret", {})
    name = returned.get("__id__") or returned.get("name") or "a state"
    return f"{host}: {name}"


def call(host: str, function: str, *arguments: Any, timeout_s: float = 30, **keywords: Any) -> Any:
    """One function on one minion. Problem when it does not answer or the function failed."""
    job = run([host], function, arguments, keywords, deadline_s=timeout_s)
    if host not in job.returns:
        raise Problem(
            f"{host} did not answer {function} within {timeout_s:.0f} s",
            f"job {job.jid}",
            f"./voip status, ./voip logs {host} salt-minion",
        )
    if host in job.failed:
        raise Problem(f"{function} failed on {host}: {reason(job.returns[host])}", f"job {job.jid}")
    return job.returns[host]


def runner(function: str, **keywords: Any) -> Any:
    """One runner in this process; it needs the master for its jobs. Problem when it failed."""
    if not daemon.is_running():
        raise Problem("The Salt master does not run", str(daemon.log_file()), "./voip up")
    import salt.config
    import salt.runner

    options = salt.config.client_config(config_file())
    with salt.runner.RunnerClient(options) as runners:
        answer = runners.cmd(function, kwarg=keywords, print_event=False, full_return=True)
    returned = answer.get("return")
    # A runner of ours returns data: text is how Salt reports what one raised.
    if not answer.get("success") or isinstance(returned, str):
        raise Problem(f"{function} failed: {reason(returned)}", str(daemon.log_file()))
    return returned


def reason(returned: Any) -> str:
    """What a failed function said: of a traceback, the exception's own line."""
    text = str(returned).strip()
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if "Traceback (most recent call last)" in text and lines else text


def ping(targets: Sequence[str], deadline_s: float, progress: Progress | None = None) -> list[str]:
    """Wait until each target answers test.ping. Returns those that did not, [] when all did."""
    missing = list(targets)
    deadline = time.monotonic() + deadline_s
    while missing and (left := deadline - time.monotonic()) > 0:
        job = run(missing, "test.ping", deadline_s=min(5, left))
        missing = [host for host in missing if job.returns.get(host) is not True]
        if missing and progress:
            progress(f"waiting for {', '.join(missing)}")
    return missing


def apply(
    targets: Sequence[str],
    *,
    test: bool = False,
    mods: Sequence[str] = (),
    deadline_s: float = APPLY_DEADLINE_S,
    progress: Progress | None = None,
) -> Job:
    """state.apply on the targets: the whole top file, or `mods` only."""
    function = "state.sls" if mods else "state.highstate"
    keywords: dict[str, Any] = {"test": test, "queue": True, "state_events": progress is not None}
    return run(
        targets,
        function,
        [",".join(mods)] if mods else [],
        keywords,
        deadline_s=deadline_s,
        progress=progress,
    )
