"""`./voip subscribers`: edits of the pillar's files, what is told, what is refused."""

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from voip_stack import paths
from voip_stack.cli import app
from voip_stack.cli import subscribers as module
from voip_stack.pillar import load

CHECKOUT = Path(__file__).parents[2]
COMMENTED = """# Subscribers of the sales floor.
subscribers:
  - {number: "2001", name: Ann}   # moves in May
  # the corner office
  - {number: "2002", name: "Ben, Jr."}
groups:
  sales: {max_calls: 3}   # each
"""
runner = CliRunner()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """pillar/subscribers/ of a copy of the committed pillar."""
    directory = Path(shutil.copytree(CHECKOUT / "pillar", tmp_path / "pillar"))
    monkeypatch.setattr(paths, "pillar_dir", lambda: directory)
    monkeypatch.setenv("VOIP_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("VOIP_DEBUG", raising=False)
    return directory / "subscribers"


def voip(*words):
    return runner.invoke(app, ["subscribers", *words])


def entries(folder):
    return {entry.number: entry for entry in load(folder.parent).subscribers}


@pytest.mark.parametrize("command", [info.name for info in module.app.registered_commands])
def test_every_command_has_examples_and_json(command):
    text = voip(command, "--help").stdout
    assert f"./voip subscribers {command}" in text
    assert "--json" in text


def test_add_keeps_comments_and_style(folder):
    path = folder / "sales.yaml"
    path.write_text(COMMENTED)
    result = voip(
        *("add", "2003", "--name", "Cleo", "--file", "sales.yaml", "--alias", "+4930123456"),
        *("--group", "sales", "--forward", "busy=2001", "--max-calls", "2", "--json"),
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {"number": "2003", "file": str(path)}
    added = (
        '  - {number: "2003", name: Cleo, aliases: ["+4930123456"], groups: [sales], max_calls: 2,'
        ' forward: {busy: "2001"}}\n'
    )
    assert path.read_text() == COMMENTED.replace("groups:\n", added + "groups:\n", 1)
    assert entries(folder)["2003"].forward_busy == "2001"


def test_add_makes_the_file(folder):
    assert voip("add", "2003", "--name", "Cleo").exit_code == 0
    assert entries(folder)["2003"].name == "Cleo"
    assert "2003" in (folder / "subscribers.yaml").read_text()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("1001", "--name", "X"), 4, "number 1001 is given twice"),
        (("02", "--name", "X"), 4, "a number of 3 to 15 digits expected"),
        (("2001", "--name", "X", "--forward", "busy"), 2, "WHEN=TARGET expected"),
        (("2001", "--name", "X", "--forward", "never=1001"), 4, "no such key"),
        (("2001", "--name", "X", "--file", "x.csv"), 2, "a YAML file expected"),
    ],
)
def test_a_refused_edit_writes_nothing(folder, words, code, message):
    before = {path: path.read_bytes() for path in folder.iterdir()}
    result = voip("add", *words)
    assert result.exit_code == code, result.output
    assert message in result.stderr
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_suspend_and_lift_in_yaml(folder):
    path = folder / "sales.yaml"
    path.write_text(COMMENTED)
    assert voip("suspend", "2002").exit_code == 0
    assert entries(folder)["2002"].state == "suspended"
    assert path.read_text() == COMMENTED.replace('Jr."}', 'Jr.", state: suspended}')
    assert voip("suspend", "2002", "--lift").exit_code == 0
    assert entries(folder)["2002"].state == "active"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("has_column", [True, False])
def test_suspend_in_csv(folder, end, has_column):
    column, value = (",state", ",active") if has_column else ("", "")
    lines = [f"number,name{column}", f'2001,"A, B"{value}', f"2002,C{value}"]
    (folder / "b.csv").write_bytes((end.join(lines) + end).encode())
    assert voip("suspend", "2002").exit_code == 0
    found = entries(folder)
    assert (found["2001"].state, found["2002"].state) == ("active", "suspended")
    text = (folder / "b.csv").read_bytes().decode()
    assert text.count(end) == 3
    assert '2001,"A, B"' in text


def test_suspend_of_nobody(folder):
    result = voip("suspend", "9999")
    assert result.exit_code == 2
    assert "9999 is not a subscriber" in result.stderr


def test_import_is_whole_or_not_at_all(folder, tmp_path):
    source = tmp_path / "new.csv"
    source.write_text("number,name\n2001,A\n2002,B\n")
    result = voip("import", str(source), "--json")
    assert json.loads(result.stdout) == {"file": str(folder / "new.csv"), "subscribers": 5}
    assert voip("import", str(source)).exit_code == 2
    source.write_text("number,name\n2001,A\n1001,B\n")
    result = voip("import", str(source), "--replace")
    assert result.exit_code == 4
    assert "new.csv:3: number: number 1001 is given twice" in result.stderr
    assert set(entries(folder)) == {"1001", "1002", "1003", "2001", "2002"}
    assert voip("import", str(source), "--name", "../x.csv").exit_code == 2


def test_export_is_what_import_reads(folder, tmp_path):
    (folder / "sales.yaml").write_text(
        COMMENTED
        + '  closed: {destinations: []}\naliases: {"+4930123456": "2001"}\n'.replace("\n\n", "\n")
    )
    voip("add", "2003", "--name", "Cleo", "--group", "closed", "--forward", "always=2001", "--dtls")
    before, whole = entries(folder), load(folder.parent).subscribers.alias_numbers()
    target = tmp_path / "all.csv"
    assert voip("export", "--to", str(target)).exit_code == 0
    for path in folder.iterdir():
        path.unlink()
    (folder / "groups.yaml").write_text("groups: {closed: {}}\n")
    assert voip("import", str(target)).exit_code == 0
    assert entries(folder) == before
    assert load(folder.parent).subscribers.alias_numbers() == whole
    as_json = json.loads(voip("export", "--json").stdout)
    assert {item["number"] for item in as_json["subscribers"]} == set(before)
    assert len(list(csv.reader(io.StringIO(voip("export").stdout)))) == len(before) + 1


def test_show_tells_where_it_stands(folder):
    (folder / "b.csv").write_text("number,name,aliases\n2001,A,\n2002,B,+4930123456\n")
    found = json.loads(voip("show", "2002", "--json").stdout)
    assert found["file"] == "pillar/subscribers/b.csv:3"
    assert found["aliases"] == ["+4930123456"]
    assert "B" in voip("show", "2002").stdout
    assert voip("show", "9999").exit_code == 2


def test_rotate_asks_a_proxy_and_tells_no_password(folder, monkeypatch):
    asked = []

    def call(host, function, number):
        asked.append((host, function, number))
        return {"number": number, "unregistered": number == "1001"}

    monkeypatch.setattr("voip_stack.master.client.call", call)
    result = voip("rotate", "1001", "1002", "--json")
    assert json.loads(result.stdout) == {
        "rotated": [
            {"number": "1001", "unregistered": True},
            {"number": "1002", "unregistered": False},
        ]
    }
    assert asked == [("sip-1", "subscribers.rotate", number) for number in ("1001", "1002")]
    assert "register anew" in voip("rotate", "1001").stdout


@pytest.mark.parametrize(("found", "code"), [({"1001": "word"}, 0), ({}, 1)])
def test_password(folder, monkeypatch, found, code):
    monkeypatch.setattr("voip_stack.vault.subscriber_passwords", lambda numbers: found)
    result = voip("password", "1001")
    assert result.exit_code == code
    assert result.stdout.strip() == found.get("1001", "")
