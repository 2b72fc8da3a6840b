"""The race of Salt's loader that cost a master one of its workers."""

import importlib
import sys

import pytest

from voip_stack.master import salt_master


@pytest.mark.parametrize("raced", [KeyError("/usr/lib/python311.zip"), RuntimeError("size")])
def test_what_another_thread_has_dropped_meanwhile_is_no_failure(monkeypatch, raced):
    found = iter([raced, raced, None])

    def invalidate():
        if (error := next(found)) is not None:
            raise error

    monkeypatch.setattr(salt_master, "_invalidate", invalidate)
    salt_master.invalidate_caches()
    assert list(found) == []


def test_it_forgets_what_importlib_forgets(monkeypatch):
    monkeypatch.setitem(sys.path_importer_cache, "/nowhere/python.zip", None)
    assert salt_master._invalidate is importlib.invalidate_caches
    salt_master.invalidate_caches()
    assert "/nowhere/python.zip" not in sys.path_importer_cache


def test_the_reactor_prints_nothing(monkeypatch):
    from salt.utils import reactor

    monkeypatch.setattr(reactor, "ReactWrap", reactor.ReactWrap)
    salt_master.silence_reactor()
    wrap = reactor.ReactWrap(
        {"reactor_refresh_interval": 60, "reactor_worker_threads": 0, "reactor_worker_hwm": 1}
    )
    assert wrap.opts["quiet"] is True
