"""What the bench of media makes of the machine's counts."""

import pytest

from voip_stack.bench import media
from voip_stack.vm import capacity
from voip_stack.vm.capacity import Level
from voip_stack.vm.machine import MachineError


def burst(user=0, kernel=0, lost=0, cpu_s=1.0):
    return {"sent": 4000, "received": 4000 - lost, "user": user, "kernel": kernel,
            "jitter_ms": 0.5, "cpu_s": cpu_s}  # fmt: skip


def test_a_level_is_less_what_its_ends_cost():
    level = capacity._level(burst(kernel=4000, lost=20, cpu_s=2.0), 10, 4, alone_s=1.2)
    assert level.streams == 20
    assert level.lost == pytest.approx(0.005)
    assert level.cpu_ms == pytest.approx(0.8 / 20 / 4 * 1000)
    assert level.is_carried


@pytest.mark.parametrize("who", ["ours kernel", "upstream kernel"])
def test_another_path_than_the_name_says_is_no_measurement(who):
    with pytest.raises(MachineError, match="went by user"):
        capacity._check(f"{who} 10", who, burst(user=3000, kernel=1000))


def test_packets_that_nobody_forwards_have_no_path():
    capacity._check("straight 10", "straight", burst())


def test_the_best_level_is_the_highest_that_was_carried():
    levels = [Level(10, 0, 1, 2), Level(20, 0.01, 1, 2), Level(40, 0.2, 9, 2)]
    assert media._best(levels).streams == 20
    assert media._best([Level(10, 0.5, 1, 2)]).streams == 10


@pytest.mark.parametrize(
    ("rounds", "chosen"),
    [
        ([burst(cpu_s=2), burst(cpu_s=1)], 1),
        ([burst(cpu_s=2, lost=40), burst(cpu_s=3)], 0),  # 1 %: carried
        ([burst(cpu_s=1, lost=400), burst(cpu_s=3)], 1),  # cheap, because it lost a tenth
        ([burst(cpu_s=3, lost=200), burst(cpu_s=1, lost=400)], 0),
    ],
)
def test_the_least_disturbed_round_counts(rounds, chosen):
    found = capacity.least_disturbed([{"ours user 10": item} for item in rounds])
    assert found == {"ours user 10": rounds[chosen]}


def test_a_level_that_one_round_has_not_reached():
    first, second = burst(cpu_s=2), burst(cpu_s=1)
    found = capacity.least_disturbed([{"ours user 10": first}, {"ours user 20": second}])
    assert found == {"ours user 10": first, "ours user 20": second}


def test_the_ratios_are_of_cpu_per_stream():
    cpu_ms = {"ours kernel": 1, "ours user": 5, "upstream kernel": 2, "upstream user": 4}
    found = {who: [Level(10, 0, 1, cpu)] for who, cpu in cpu_ms.items()}
    by_name = {result.name: result for result in media._summary(found)}
    assert by_name["voip-stack, CPU user space : kernel"].value == 5
    assert by_name["voip-stack, CPU user space : kernel"].met
    assert by_name["defaults, CPU user space : kernel"].value == 2
    assert by_name["kernel, CPU voip-stack : defaults"].value == 0.5
    assert by_name["voip-stack, kernel: streams per core"].value == 1000
