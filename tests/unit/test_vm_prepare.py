"""What is made for the kernel tests while others run."""

import signal
from pathlib import Path

import pytest

from voip_stack.problem import Problem
from voip_stack.vm import prepare
from voip_stack.vm.image import Image

IMAGE = Image(Path("/none"), old="6.1.0-50-cloud-amd64", new="6.1.0-56-cloud-amd64")


@pytest.fixture
def handlers(monkeypatch):
    """{signal: handler} that main has set; the test's own process keeps its own, and its nice."""
    found = {}
    monkeypatch.setattr(prepare.signal, "signal", found.__setitem__)
    monkeypatch.setattr(prepare.os, "nice", lambda more: None)
    return found


def test_a_machine_of_each_kernel_is_frozen(monkeypatch, handlers):
    frozen = []
    monkeypatch.setattr(prepare.images, "ensure", lambda logs: IMAGE)
    monkeypatch.setattr(
        prepare.images, "frozen",
        lambda image, release, room: frozen.append((release, room.is_dir())),
    )  # fmt: skip
    prepare.main()
    assert frozen == [(IMAGE.old, True), (IMAGE.new, True)]


def test_what_fails_is_for_the_tests_to_say(monkeypatch, handlers, capsys):
    def ensure(logs):
        raise Problem("A machine under qemu needs root to make its image")

    monkeypatch.setattr(prepare.images, "ensure", ensure)
    prepare.main()
    assert capsys.readouterr() == ("", "")


def test_ended_it_unwinds(monkeypatch, handlers):
    """So that the cache's entry, the machine and the directory of both go."""
    rooms = []

    def ensure(logs):
        rooms.append(logs)
        handlers[signal.SIGTERM](signal.SIGTERM, None)

    monkeypatch.setattr(prepare.images, "ensure", ensure)
    with pytest.raises(SystemExit):
        prepare.main()
    assert not rooms[0].exists()
