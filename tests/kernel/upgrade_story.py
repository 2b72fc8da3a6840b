"""A machine on its old kernel, whose headers are gone, converged: told apart from its tests because
it runs beside the other machine, on the second core.
"""

from pathlib import Path

from voip_stack.events.kernel import Installed
from voip_stack.events.received import Verifier
from voip_stack.vm.payload import HOST, SLS

STATE = "Forward RTP in the kernel"
# The archive has them no more: apt keeps no candidate of them.
GONE = "Package: linux-headers-{release}\nPin: release *\nPin-Priority: -1\n"


def upgrade_story(machines):
    """Return what was seen, and the machine's disk for a boot of the next kernel."""
    seen = {}
    old = machines.image.old
    with machines.boot(old) as machine:
        machine.run("dpkg", "--purge", f"linux-headers-{old}")
        machine.run("tee", "/etc/apt/preferences.d/gone", stdin=GONE.format(release=old))
        (event,) = machine.beacon("voip_kernels", settle_s=0)
        seen["believed"] = _believed(machines, event)
        seen["predicted"] = machine.apply(SLS, test=True)[STATE]
        # What the event's handler has the host do.
        seen["first"] = machine.apply(SLS)
        seen["second"] = machine.apply(SLS)
        seen["status"] = machine.call("rtpengine_module.status")
        seen["modules"] = machine.run("cat", "/proc/modules")
        seen["events"] = machine.events()
        seen["beacon"] = machine.beacon("voip_kernels", settle_s=0, repeat_s=0)
        seen["disk"] = machine.disk
    return seen


def _believed(machines, event):
    """(kind, data) as the master takes it: by the minion's key, by the handler's model."""
    keys: Path = machines.room / "keys"
    keys.mkdir()
    (keys / HOST).write_bytes(machines.payload.public_key)
    found = Verifier(keys).verify(event, [HOST])
    return found.kind, Installed.model_validate(found.data)
