"""The cache: whole entries only, one maker at a time, and nothing of a failed one."""

import os
import subprocess
import sys
import textwrap
import threading

import pytest

from voip_stack.cache import Cache, digest, remove


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache")


def test_made_once(cache):
    calls = []

    def make(directory):
        calls.append(directory)
        (directory / "file").write_text("content")

    first = cache.entry("images", "key", make)
    assert (first / "file").read_text() == "content"
    assert cache.entry("images", "key", make) == first
    assert len(calls) == 1


def test_nothing_stays_of_a_failed_one(cache):
    def fail(directory):
        (directory / "half").write_text("")
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        cache.entry("images", "key", fail)
    assert not cache.has("images", "key")
    assert list((cache.root / "images").iterdir()) == []


def test_a_killed_makers_half_is_never_used(cache):
    code = textwrap.dedent("""
        import os, signal, sys
        from pathlib import Path
        from voip_stack.cache import Cache
        def make(directory):
            (directory / "half").write_text("")
            os.kill(os.getpid(), signal.SIGKILL)
        Cache(Path(sys.argv[1])).entry("images", "key", make)
    """)
    subprocess.run([sys.executable, "-c", code, str(cache.root)], check=False)
    assert not cache.has("images", "key")
    whole = cache.entry("images", "key", lambda directory: (directory / "whole").touch())
    assert os.listdir(whole) == ["whole"]


def test_two_makers_at_once(cache):
    calls = []

    def make(directory):
        calls.append(directory)
        (directory / "file").write_text("content")

    threads = [threading.Thread(target=cache.entry, args=("images", "key", make)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1


def test_prune_removes_what_nobody_asked_for(cache):
    for key in ("old", "new", "asked"):
        path = cache.entry("images", key, lambda directory: None)
        if key != "new":
            os.utime(path, (0, 0))
    cache.entry("images", "asked", lambda directory: None)
    assert cache.prune("images", 14) == ["old"]
    assert cache.has("images", "new")
    assert cache.has("images", "asked")


def test_prune_removes_the_half_of_a_killed_maker(cache):
    half = cache.root / "images" / ".partial-key"
    half.mkdir(parents=True)
    assert cache.prune("images", 14) == []
    os.utime(half, (0, 0))
    assert cache.prune("images", 14) == ["key"]
    assert not half.exists()


def test_digest_tells_boundaries_apart(tmp_path):
    assert digest("ab", "c") != digest("a", "bc")
    file = tmp_path / "file"
    file.write_text("content")
    assert digest(file) == digest(b"content") == digest("content")


def test_remove_of_nothing_is_no_error(tmp_path):
    remove(tmp_path / "absent")
