"""A machine on its old kernel, whose headers are gone, converged and rebooted: told apart from its
tests because it runs beside the other machine, on the second core.
"""

from pathlib import Path

from tests.kernel.calls import PACKETS, WARM
from voip_stack.events.kernel import Installed
from voip_stack.events.received import Verifier
from voip_stack.vm.payload import HOST, SLS

STATE = "Forward RTP in the kernel"
MODULE = "xt_RTPENGINE"
# The archive has them no more: apt keeps no candidate of them.
GONE = "Package: linux-headers-{release}\nPin: release *\nPin-Priority: -1\n"


def upgrade_story(machines):
    """Return what was seen "before" the reboot and "after" it, without Salt."""
    old, new = machines.image.old, machines.image.new
    with machines.boot(old) as machine:
        before = _upgraded(machines, machine, old)
        disk = machine.disk
    with machines.boot(new, disk) as machine:
        # Its addresses came later than at a real boot.
        machine.shell("systemctl reset-failed; systemctl restart rtpengine-daemon")
        file = machine.run("modinfo", "-n", MODULE).strip()
        after = {
            "file": file,
            "signer": machine.run("modinfo", "-F", "signer", file).strip(),
            "call": machines.call(machine, PACKETS, WARM),
        }
    return {"before": before, "after": after}


def _upgraded(machines, machine, old):
    machine.run("dpkg", "--purge", f"linux-headers-{old}")
    machine.run("tee", "/etc/apt/preferences.d/gone", stdin=GONE.format(release=old))
    (event,) = machine.beacon("voip_kernels", settle_s=0)
    return {
        "believed": _believed(machines, event),
        "predicted": machine.apply(SLS, test=True)[STATE],
        # What the event's handler has the host do.
        "first": machine.apply(SLS),
        "second": machine.apply(SLS),
        "status": machine.call("rtpengine_module.status"),
        "modules": machine.run("cat", "/proc/modules"),
        "events": machine.events(),
        "beacon": machine.beacon("voip_kernels", settle_s=0, repeat_s=0),
        "key": machine.run("stat", "-c", "%a %U", "/var/lib/dkms/mok.key").split(),
    }


def _believed(machines, event):
    """(kind, data) as the master takes it: by the minion's key, by the handler's model."""
    keys: Path = machines.room / "keys"
    keys.mkdir()
    (keys / HOST).write_bytes(machines.payload.public_key)
    found = Verifier(keys).verify(event, [HOST])
    return found.kind, Installed.model_validate(found.data)
