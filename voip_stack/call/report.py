"""What a call came to: as JSON for scripts, in words for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from voip_stack.call.failure import CallError
from voip_stack.call.legs import Leg
from voip_stack.call.tones import ToneReport


@dataclass
class CallReport:
    """One call. Everything that was found out before a failure stays in it; the rest is None."""

    caller: str
    callee: str
    codec: str
    is_echo: bool = False
    browsers: list[str] = field(default_factory=list)
    steps: list[tuple[str, int]] = field(default_factory=list)
    failure: CallError | None = None
    call_ids: list[str] = field(default_factory=list)
    ring_ms: int | None = None
    setup_ms: int | None = None
    answered_by: str | None = None
    a_to_b: ToneReport | None = None
    b_to_a: ToneReport | None = None
    legs: list[Leg] = field(default_factory=list)
    duration_s: float | None = None
    elapsed_s: float | None = None
    recordings: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Verified: nothing failed, and every part of the proof is there."""
        heard = (self.a_to_b, self.b_to_a)
        return (
            self.failure is None
            and self.setup_ms is not None
            and self.answered_by is not None
            and all(item is not None and item.ok for item in heard)
            and len(self.legs) == (2 if self.is_echo else 4)
        )

    def as_dict(self) -> dict[str, Any]:
        failure = self.failure
        return {
            "ok": self.ok,
            "from": self.caller,
            "to": self.callee,
            "browsers": self.browsers,
            "failed": None
            if failure is None
            else {"step": failure.step, "reason": failure.reason, "sip_code": failure.sip_code},
            "setup_ms": self.setup_ms,
            "ring_ms": self.ring_ms,
            "answered_by": self.answered_by,
            "codec": self.codec,
            "duration_s": self.duration_s,
            "audio": {
                "a_to_b": None if self.a_to_b is None else self.a_to_b.as_dict(),
                "b_to_a": None if self.b_to_a is None else self.b_to_a.as_dict(),
            },
            "legs": [leg.as_dict() for leg in self.legs],
            "call_ids": self.call_ids,
            "steps": [{"step": name, "ms": ms} for name, ms in self.steps],
            "elapsed_s": self.elapsed_s,
            "recordings": self.recordings,
        }


def as_json(reports: Sequence[CallReport]) -> dict[str, Any]:
    """One call's object, or for several {ok, count, verified, calls}."""
    if len(reports) == 1:
        return reports[0].as_dict()
    return {
        "ok": all(report.ok for report in reports),
        "count": len(reports),
        "verified": sum(report.ok for report in reports),
        "calls": [report.as_dict() for report in reports],
    }


def print_report(report: CallReport, console: Console) -> None:
    """Tell it in words."""
    title = f"{report.caller} → {report.callee}"
    if not report.ok:
        failure = report.failure
        step = failure.step if failure else "verify"
        reason = failure.reason if failure else "the proof is not complete"
        code = f" (SIP {failure.sip_code})" if failure and failure.sip_code else ""
        console.print(f"[bold red]✗ {escape(title)}: failed at “{escape(step)}”[/]{code}")
        console.print(f"  {escape(reason)}", soft_wrap=True)
    else:
        rang = "" if report.ring_ms is None else f", rang after {report.ring_ms} ms"
        console.print(
            f"[bold green]✓ {escape(title)}: verified[/]  answered by "
            f"{escape(str(report.answered_by))} after {report.setup_ms} ms{rang}"
        )
    _print_audio(report, console)
    if report.legs:
        console.print(_table(report.legs))
    for path in report.recordings:
        console.print(f"  recording: {escape(path)}")


def _print_audio(report: CallReport, console: Console) -> None:
    if report.is_echo:
        ways = [(f"{report.caller} hears itself", report.b_to_a)]
    else:
        ways = [
            (f"{report.callee} hears {report.caller}", report.a_to_b),
            (f"{report.caller} hears {report.callee}", report.b_to_a),
        ]
    for who, heard in ways:
        if heard is None:
            continue
        mark = "[green]✓[/]" if heard.ok else "[red]✗[/]"
        level = "" if heard.level_dbfs is None else f" at {heard.level_dbfs} dBFS"
        words = heard.problem or (
            f"{heard.tone_hz} Hz{level}, {heard.share:.1%} of the power, "
            f"{heard.present_s:.2f} s of {heard.expected_s:.2f} s"
        )
        console.print(f"  {mark} {escape(who)}: {escape(words)}", soft_wrap=True)


def _table(legs: Sequence[Leg]) -> Table:
    """One leg in two lines, so that no cipher's name is cut at 80 columns."""
    table = Table(box=None, pad_edge=True, header_style="bold")
    table.add_column("leg", no_wrap=True)
    table.add_column("encryption", overflow="fold")
    table.add_column("packets →/←", no_wrap=True)
    table.add_column("lost →/←", no_wrap=True)
    for leg in legs:
        table.add_row(
            leg.name,
            f"{leg.tls} {leg.cipher}\n{leg.srtp}, {leg.codec}",
            f"{leg.forward.received}/{leg.backward.received}",
            f"{leg.forward.lost}/{leg.backward.lost}",
        )
    return table
