"""What came of the attacks, what was promised, and the table for people."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from voip_stack.malformed import WHOLE
from voip_stack.malformed.memory import Memory
from voip_stack.soak.report import Calls

# Of mutations: so many, at least, are known to have been read by the proxy.
READ = 0.9
# Clients that a proxy may keep waiting: OpenSIPS has no timer for a connection on which no message
# has begun, until the connection's own life is over. Calls and memory are judged all the same.
MAY_STAY = {"opensips": ("no handshake", "half a handshake")}
# A run that is not whole is too short to tell a leak from the pages that each process of a daemon
# that has just started gets once: so many KiB of them are let pass.
ONCE_KIB = 64
SHOWN = 5


@dataclass
class Report:
    """attacks: see attacker.attack. parsed: what the proxy counted meanwhile, by its own counters.
    calls: under way meanwhile. restarted: daemons that were started anew. banned: sources that were
    shut out at the end. seconds: of the attacks.
    """

    proxy: str
    messages: int
    logins: int
    sources: int
    seconds: float = 0.0
    attacks: dict[str, Any] = field(default_factory=dict)
    parsed: dict[str, int] = field(default_factory=dict)
    calls: Calls = field(default_factory=Calls)
    restarted: list[str] = field(default_factory=list)
    banned: int = 0
    before: Memory | None = None
    after: Memory | None = None

    @property
    def broken(self) -> list[str]:
        """The promises that were not kept, in words."""
        return [words for words in self._promises() if words]

    def _promises(self) -> list[str]:
        return [
            *(f"restarted: {what}" for what in self.restarted),
            *self._memory(),
            *self._calls(),
            *self._served(),
            *self._mutations(),
            *self._slow(),
            *self._logins(),
        ]

    def _memory(self) -> list[str]:
        if self.before is None or self.after is None:
            return ["the proxy's memory was not measured"]
        broken = []
        if self.before.pids != self.after.pids:
            broken.append(f"processes {self.before.pids} are {self.after.pids} now")
        if not self.after.is_flat_after(self.before, 0 if self.messages >= WHOLE else ONCE_KIB):
            broken.append("the proxy's memory has grown by more than 5 %")
        return broken

    def _calls(self) -> list[str]:
        broken = self.calls.broken
        if not self.calls.made or not self.calls.looks:
            broken.append("no call was made under attack, or none was listened to")
        return broken

    def _served(self) -> list[str]:
        """No broken message gets a service, and every connection was opened."""
        broken = []
        for attack in ("torture", "oversized"):
            for name, outcomes in self.attacks[attack].items():
                for transport, outcome in outcomes.items():
                    if outcome.startswith(("2", "not opened")):
                        broken.append(f"{name} over {transport}: {outcome}")
        return broken

    def _mutations(self) -> list[str]:
        ways = [self.attacks["mutations"][way] for way in ("tls", "wss")]
        sent, read, refused = (
            sum(way[name] for way in ways for name in names)
            for names in (("sent",), ("read", "closed"), ("refused",))
        )
        broken = []
        if sent != self.messages:
            broken.append(f"{sent} of {self.messages} mutations were sent")
        if read < READ * self.messages:
            broken.append(f"the proxy has read {read} of {self.messages} mutations")
        if refused:
            broken.append(f"{refused} connections were refused")
        return broken

    def _slow(self) -> list[str]:
        return [
            f"{name}: {found['disconnected']} of {found['clients']} clients were disconnected"
            for name, found in self.attacks["slow"].items()
            if found["disconnected"] < found["clients"] and name not in MAY_STAY.get(self.proxy, ())
        ]

    def _logins(self) -> list[str]:
        found = self.attacks["logins"]
        broken = []
        if found["tried"] != self.logins:
            broken.append(f"{found['tried']} of {self.logins} bad logins were tried")
        if found["accepted"]:
            broken.append(f"{found['accepted']} bad logins were accepted")
        if not found["refused"]:
            broken.append("no bad login was refused")
        if found["other"]:
            broken.append(f"{found['other']} bad logins were neither refused nor dropped")
        if found["dropped"] and not self.banned:
            broken.append("bad logins were dropped, and nobody is shut out")
        return broken

    def as_dict(self) -> dict[str, Any]:
        return {"soak": "malformed", "ok": not self.broken, "broken": self.broken} | asdict(self)


def table(report: Report) -> str:
    """For people."""
    lines = [f"{'ok' if not report.broken else 'BROKEN'}, {report.seconds:.0f} s of attacks on "
             f"{report.proxy} from {report.sources} addresses"]  # fmt: skip
    for attack in ("torture", "oversized"):
        outcomes = Counter(
            outcome for each in report.attacks[attack].values() for outcome in each.values()
        )
        lines.append(f"{attack}: {sum(outcomes.values())} sent: {_counted(outcomes)}")
    for way in ("tls", "wss"):
        found = report.attacks["mutations"][way]
        lines.append(
            f"mutations over {way}: {found['sent']} sent by {found['connections']} connections; "
            f"read and the connection kept {found['read']}, ended {found['closed']}, swallowed "
            f"{found['swallowed']}; replies, to the sound messages between too: "
            f"{_counted(found['replies'])}"
        )
    lines.append(f"the proxy counted: {_counted(report.parsed)}")
    for name, found in report.attacks["slow"].items():
        lines.append(
            f"slow, {name}: {found['disconnected']} of {found['clients']} disconnected, the last "
            f"after {found['longest_s']} s"
        )
    found = report.attacks["logins"]
    lines.append(f"bad logins: {_counted(found)}; {report.banned} sources shut out")
    lines.append(report.calls.line)
    lines += sorted({str(failure) for failure in report.calls.failures})[:SHOWN]
    if report.before and report.after:
        for name in ("resident_kib", "pool_kib"):
            before, after = getattr(report.before, name), getattr(report.after, name)
            change = (after - before) / before * 100
            lines.append(f"{name}: {before} before, {after} after ({change:+.1f} %)")
        same = "the same" if report.before.pids == report.after.pids else "others"
        lines.append(f"processes: {len(report.after.pids)}, {same} after")
    return "\n".join([*lines, *(f"broken: {words}" for words in report.broken)])


def _counted(counts: dict[str, int] | Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()) if count) or "none"
