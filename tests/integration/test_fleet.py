"""The bench's master with simulated minions, small: all answer, no event is lost, nothing stays."""

import tempfile

import psutil

from voip_stack.bench import fleet


def test_ten_simulated_minions(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    found = fleet.measure(count=10, events=2, rounds=1)
    assert found["answered"] == [10]
    for kind in ("plain", "signed"):
        assert (found[kind]["sent"], found[kind]["handled"]) == (20, 20)
        assert found[kind]["seconds"] > 0
    assert found["memory_mib"]["minions"] > 0
    assert list(tmp_path.iterdir()) == []
    # Nobody's child any more, a master left behind would still name its directory.
    commands = [process.info["cmdline"] for process in psutil.process_iter(["cmdline"])]
    assert [words for words in commands if str(tmp_path) in str(words)] == []
