"""What a forwarded packet costs, from the bursts of a machine."""

import pytest

from voip_stack.vm import cost
from voip_stack.vm.cost import PATHS, PROFILES, Burst, cheapest, costs
from voip_stack.vm.machine import MachineError


def burst(cpu_s, user=0, kernel=0, received=1000):
    return Burst(sent=1000, received=received, user=user, kernel=kernel, cpu_s=cpu_s)


def every(kernel_s, user_s=1.0):
    return {"straight": burst(0.2)} | {
        f"{profile} {path}": burst({"kernel": kernel_s, "user": user_s}[path])
        for profile in PROFILES
        for path in PATHS
    }


def test_the_cheapest_round_counts():
    """Whatever else the host does makes a burst dearer, never cheaper."""
    found = cheapest({
        "straight 0": burst(0.2), "rtp kernel 0": burst(0.9, kernel=1000),
        "straight 1": burst(0.3), "rtp kernel 1": burst(0.4, kernel=1000),
    })  # fmt: skip
    assert {name: item.cpu_s for name, item in found.items()} == {
        "straight": 0.2, "rtp kernel": 0.4
    }  # fmt: skip


@pytest.mark.parametrize(
    "broken",
    [
        burst(0.1, kernel=1000, received=900),  # half of it was never forwarded
        burst(0.1, user=30, kernel=970),  # not by the kernel alone
    ],
)
def test_a_round_that_is_none_does_not_count(broken):
    good = burst(0.4, kernel=1000)
    assert cheapest({"rtp kernel 0": broken, "rtp kernel 1": good}) == {"rtp kernel": good}
    with pytest.raises(MachineError, match="rtp kernel 0"):
        cheapest({"rtp kernel 0": broken})


def test_what_nobody_forwards_is_taken_off():
    for each in costs(every(kernel_s=0.3, user_s=0.7)).values():
        assert (each.kernel_us, each.user_us) == (pytest.approx(100), pytest.approx(500))
        assert each.ratio == pytest.approx(5)


def test_nothing_measured_is_no_endless_ratio():
    """A burst by the kernel that was cheaper than one that nobody forwarded."""
    for each in costs(every(kernel_s=0.19, user_s=0.4)).values():
        assert (each.kernel_us, each.user_us) == (pytest.approx(10), pytest.approx(200))


def attempts(monkeypatch, *found):
    """What each `measure` answers in turn; the list of those that nobody asked for."""
    left = list(found)

    def measure(machines, machine):
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(cost, "measure", measure)
    return left


def test_a_busy_host_is_asked_again(monkeypatch):
    left = attempts(monkeypatch, every(0.9), MachineError("lost"), every(0.3), every(0.8))
    found = cost.measure_until(None, None, ratio=3, attempts=4)
    assert [item.ratio for item in costs(found).values()] == [pytest.approx(8)] * 2
    assert len(left) == 1


def test_what_is_never_reached_is_told_as_it_is(monkeypatch):
    attempts(monkeypatch, every(0.9), every(0.8))
    found = cost.measure_until(None, None, ratio=3, attempts=2)
    assert all(item.ratio < 3 for item in costs(found).values())
    attempts(monkeypatch, MachineError("lost"))
    with pytest.raises(MachineError, match="lost"):
        cost.measure_until(None, None, ratio=3, attempts=1)
