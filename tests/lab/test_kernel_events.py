"""A media host's word about its kernels, over the real bus: what the master does about it."""

import time

from voip_stack.events import record

RELEASE = "6.1.0-99-cloud-amd64"
DROP_IN = "/etc/systemd/system/rtpengine-daemon.service.d/voip.conf"


def recorded(name, kind, since):
    return [entry for entry in record.read(name, since) if entry["kind"] == kind]


def test_a_new_kernel_has_the_host_converged(on, salt, eventually):
    """A lab has nothing to build; the orchestration mends what else rtpengine.module declares."""
    on("media-1", "chmod", "600", DROP_IN)
    try:
        assert salt("media-1", "voip_event.send", "kernel/installed", release=RELEASE) is True
        eventually(lambda: on("media-1", "stat", "-c", "%a", DROP_IN).strip() == "644", 60, 1)
    finally:
        # After the event's own run: whatever is left to mend, the restart that it needs included.
        salt("media-1", "state.apply", "rtpengine.module", queue=True, timeout_s=120)


def test_a_failed_build_is_an_alert(salt, eventually):
    began = time.time()
    reason = "error: no member named x"
    salt("media-1", "voip_event.send", "kernel/build-failed", release=RELEASE, reason=reason)
    (alert,) = eventually(lambda: recorded("alerts", "kernel/build-failed", began), 20)
    assert alert["host"] == "media-1"
    assert reason in alert["detail"]
    assert "user space" in alert["detail"]


def test_a_host_without_rtpengine_has_no_say(salt, eventually):
    began = time.time()
    salt("pbx-1", "voip_event.send", "kernel/installed", release=RELEASE)
    (refusal,) = eventually(lambda: recorded("security", "event/not-its-own", began), 20)
    assert refusal["host"] == "pbx-1"
