"""How the tests are dealt out to two workers, and what is told reaches the one who prints."""

from types import SimpleNamespace

import pytest

from tests import told
from tests.beside import ByKind


class Worker:
    """What the scheduler sees of a worker: the tests that it was sent."""

    shutting_down = False

    def __init__(self, name):
        self.gateway = SimpleNamespace(id=name)
        self.sent = []

    def send_runtest_some(self, indices):
        self.sent += indices

    def shutdown(self):
        self.shutting_down = True


COLLECTED = [
    "tests/unit/test_a.py::test_1",
    "tests/unit/test_a.py::TestB::test_2",
    "tests/unit/test_a.py::test_3",
    "tests/functional/test_b.py::test_1",
    "tests/kernel/test_c.py::test_1",
    "tests/kernel/test_d.py::test_1",
    "tests/lab/test_e.py::test_1",
    "tests/lab/test_f.py::test_1",
    "tests/lab/test_g.py::test_1",
]


@pytest.fixture
def workers():
    config = SimpleNamespace(option=SimpleNamespace(loadscopereorder=True, tx=["popen"] * 2))
    config.getvalue = lambda name: getattr(config.option, name)
    silent = SimpleNamespace(loadscopesched=lambda *_: None)
    scheduler = ByKind(config, silent)
    pair = [Worker("gw0"), Worker("gw1")]
    for worker in pair:
        scheduler.add_node(worker)
        scheduler.add_node_collection(worker, COLLECTED)
    scheduler.schedule()
    return scheduler, pair


def sent(worker):
    return [COLLECTED[index] for index in worker.sent]


def test_one_worker_has_the_lab_from_the_beginning(workers):
    _, (first, second) = workers
    assert sent(first) == COLLECTED[6:]
    assert sent(second) == COLLECTED[:3]


def test_the_other_has_the_rest_in_order_and_the_kernel_whole(workers):
    scheduler, (first, second) = workers
    done = 0
    while done < len(second.sent):
        scheduler.mark_test_complete(second, second.sent[done])
        done += 1
    assert sent(second) == COLLECTED[:6]
    assert sent(first) == COLLECTED[6:]


def test_what_a_worker_was_told_is_shown(monkeypatch):
    monkeypatch.setattr(told, "TOLD", {})
    told.tell("figures", "there")
    config = SimpleNamespace(workeroutput={})
    told.hand_over(config)
    monkeypatch.setattr(told, "TOLD", {"figures": ["here"]})
    told.take_over(SimpleNamespace(workeroutput=config.workeroutput))
    told.take_over(SimpleNamespace())  # crashed
    lines = []
    told.show(SimpleNamespace(section=lines.append, write_line=lines.append))
    assert lines == ["figures", "here", "there"]
