"""What a call through the machine's RTPEngine must have shown, and the lines that tell of it."""

from __future__ import annotations

import json

from tests.told import tell

PACKETS = 100
# In user space, where each is emulated twice: enough to see the path.
FEW = 60
# At most, before the daemon hands the call to the kernel.
WARM = 400
TOLD = "by kernel and by user space: packets and their cost"


def record(what, found):
    """The counters, for whoever reads the run's output."""
    keys = ("relayed", "listed", "kernelized")
    tell(TOLD, f"{what}: {json.dumps({k: found[k] for k in keys if k in found} or found)}")


def whole(found, packets):
    """Nothing lost, nothing altered; RTP outside, SRTP inside."""
    assert found["outside"] == found["inside"] == {
        "sent": packets, "received": packets, "wrong": 0
    }, found  # fmt: skip
    assert [leg["srtp"] for leg in found["legs"]] == [None, "AES_CM_128_HMAC_SHA1_80"]


def went_by_kernel(found, what):
    record(what, found)
    whole(found, PACKETS)
    assert found["kernelized"] == found["in_kernel"] == 2
    assert found["relayed"] == {"user": 0, "kernel": 2 * PACKETS}
    assert found["listed"] == 2 * PACKETS
    assert "SRTP encryption" in found["targets"]
    assert "SRTP decryption" in found["targets"]


def went_by_user_space(found, what, handed_over=False):
    """handed_over: the daemon has given the streams to the kernel, and hears of no missing rule."""
    record(what, found)
    whole(found, FEW)
    assert found["relayed"] == {"user": 2 * FEW, "kernel": 0}
    if handed_over:
        assert found["kernelized"] == 2
