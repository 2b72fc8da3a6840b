"""The bench's real ansible-playbook, on this machine: what is as declared stays, the rest shows."""

import pytest

from voip_stack.bench.ansible.playbook import Found, Host, translate
from voip_stack.bench.ansible.project import Project
from voip_stack.problem import Problem


@pytest.fixture
def project(tmp_path):
    """A file and a directory of this test as a project; (the file, the project)."""
    home, work = tmp_path / "host", tmp_path / "project"
    home.mkdir(mode=0o755)
    work.mkdir(mode=0o700)
    file = home / "a.conf"
    file.write_text("one line\n")
    file.chmod(0o644)
    low = [
        {"state": "file", "fun": "directory", "name": str(home), "mode": "0755"},
        {"state": "file", "fun": "managed", "name": str(file)},
    ]
    low = [{"__id__": f"State {number}", **chunk} for number, chunk in enumerate(low)]
    found = {str(file): Found("0644", file.owner(), file.group(), file.read_bytes())}
    # The way into this machine: a command that only runs what follows.
    return file, Project(work, "here", ["env"], translate(low, Host(found, {})))


def test_a_playbook_finds_the_host_as_declared_and_puts_one_line_back(project):
    file, playbook = project
    assert playbook.require_converged() == 2
    file.write_text("another line\n")
    with pytest.raises(Problem, match="would change 1 of 2"):
        playbook.require_converged()
    ran = playbook.run(facts=True)
    assert (ran.ok, ran.changed, file.read_text()) == (3, 1, "one line\n")
