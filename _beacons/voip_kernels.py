"""A kernel boots next and has no RTPEngine module yet: tell the master, before the reboot.

Two directory listings an interval; nothing is run.
"""

import os
import sys
import time

# Salt's loader has _utils on the module path for every kind of extension but this one.
_UTILS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "utils")
if _UTILS not in sys.path:
    sys.path.append(_UTILS)

import voip_event  # noqa: E402
import voip_kernel  # noqa: E402
import voip_kernel_build  # noqa: E402

__virtualname__ = "voip_kernels"

KIND = "kernel/installed"
_BOOT = "/boot"
_CONTAINER = "/run/systemd/container"
_told = {}  # {release: when}


def __virtual__():
    return __virtualname__


def validate(config):
    names = {name for item in config for name in item}
    if unknown := names - {"interval", "settle_s", "repeat_s", "_beacon_name"}:
        return False, f"unknown settings: {', '.join(sorted(unknown))}"
    return True, "valid"


def beacon(config):
    """Return one signed event, or none.

    settle_s: seconds that a new kernel is left alone, while DKMS' own hook may build for it.
    repeat_s: how long it is silent after an event whose build did not come about.
    """
    settings = {name: value for item in config for name, value in item.items()}
    if os.path.exists(_CONTAINER):
        return []  # the kernel is another's
    running = os.uname().release
    kernels = voip_kernel.kernels(os.listdir(_BOOT), running)
    release = voip_kernel.next_boot(running, kernels)
    if release == running or voip_kernel_build.module_file(release):
        return []
    if _age_s(release) < settings.get("settle_s", 120):
        return []
    now = time.monotonic()
    if release in _told and now - _told[release] < settings.get("repeat_s", 3600):
        return []
    _told[release] = now
    return [{"tag": KIND} | voip_event.signed(__opts__, KIND, release=release)]


def _age_s(release):
    """Since its image came to /boot: the file's own time is the package's."""
    try:
        return time.time() - os.stat(os.path.join(_BOOT, f"vmlinuz-{release}")).st_ctime
    except OSError:
        return 0.0
