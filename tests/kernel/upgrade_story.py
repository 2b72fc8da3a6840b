"""A machine on its old kernel, whose headers are gone, converged: told apart from its tests because
it runs beside the other machine, on the second core.
"""

STATE = "Forward RTP in the kernel"
# The archive has them no more: apt keeps no candidate of them.
GONE = "Package: linux-headers-{release}\nPin: release *\nPin-Priority: -1\n"


def upgrade_story(boot, image):
    """Return what was seen, and the machine's disk for a boot of the next kernel."""
    seen = {}
    with boot(image.old) as machine:
        machine.run("dpkg", "--purge", f"linux-headers-{image.old}", timeout=120)
        machine.run("tee", "/etc/apt/preferences.d/gone", stdin=GONE.format(release=image.old))
        seen["predicted"] = machine.apply("rtpengine", test=True)[STATE]
        seen["first"] = machine.apply("rtpengine")
        seen["second"] = machine.apply("rtpengine")
        seen["status"] = machine.call("rtpengine_module.status")
        seen["modules"] = machine.run("cat", "/proc/modules")
        seen["events"] = machine.events()
        seen["disk"] = machine.disk
    return seen
