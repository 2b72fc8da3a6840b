"""From a host's lowstate to Ansible's tasks: the same resources, what is left out counted."""

import runpy
from pathlib import Path

import pytest

from voip_stack.bench.ansible import survey
from voip_stack.bench.ansible.playbook import Found, Host, paths, translate

TEXT = Found("0644", "root", "root", b"text\n")


def chunk(function, name, **more):
    state, _, fun = function.partition(".")
    return {"state": state, "fun": fun, "name": name, "__id__": f"State of {name}", **more}


def tasks(*low, files=None, packages=None):
    return translate(list(low), Host(files or {}, packages or {})).tasks


CASES = [
    (
        chunk("file.directory", "/etc/voip-stack", mode="0755", user="root"),
        {"ansible.builtin.file": {"path": "/etc/voip-stack", "state": "directory",
                                  "owner": "root", "mode": "0755"}},
    ),
    (
        chunk("file.absent", "/etc/old"),
        {"ansible.builtin.file": {"path": "/etc/old", "state": "absent"}},
    ),
    (
        chunk("file.symlink", "/etc/a", target="b"),
        {"ansible.builtin.file": {"path": "/etc/a", "src": "b", "state": "link"}},
    ),
    (
        chunk("file.blockreplace", "/etc/hosts", content="a", marker_start="# b", marker_end="# e"),
        {"ansible.builtin.blockinfile": {"path": "/etc/hosts", "block": "a", "marker": "{mark}",
                                         "marker_begin": "# b", "marker_end": "# e"}},
    ),
    (
        chunk("pkg.installed", "nftables"),
        {"ansible.builtin.apt": {"name": ["nftables"], "state": "present"}},
    ),
    (
        chunk("pkg.installed", "tools", pkgs=["a", "b"]),
        {"ansible.builtin.apt": {"name": ["a", "b"], "state": "present"}},
    ),
    (
        chunk("voip_service.running", "kamailio.service", paths=["/x"]),
        {"ansible.builtin.systemd_service": {"name": "kamailio.service", "state": "started",
                                             "enabled": True}},
    ),
    (
        chunk("service.enabled", "nftables"),
        {"ansible.builtin.systemd_service": {"name": "nftables", "enabled": True}},
    ),
    (
        chunk("group.present", "voip-db", system=True),
        {"ansible.builtin.group": {"name": "voip-db", "system": True}},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("low", "task"), CASES, ids=lambda case: str(case.get("fun", "")))
def test_a_state_is_the_task_of_the_same_name(low, task):
    assert tasks(low) == [{"name": low["__id__"], **task}]


def test_a_file_is_copied_as_it_is_on_the_host():
    book = translate([chunk("file.managed", "/etc/a")], Host({"/etc/a": TEXT}, {}))
    copied = {"src": "etc!a", "dest": "/etc/a", "owner": "root", "group": "root", "mode": "0644"}
    assert book.tasks == [{"name": "State of /etc/a", "ansible.builtin.copy": copied}]
    assert book.files == {"/etc/a": b"text\n"}


def test_the_text_of_a_file_with_a_secret_stays_on_its_host():
    low = chunk("voip_config.managed", "/etc/p", files=["p.ini"], secrets={"x": "y"}, group="pg")
    assert paths([low]) == ([], [])
    declared = {"path": "/etc/p/p.ini", "owner": "root", "group": "pg", "mode": "0640"}
    assert tasks(low, files={"/etc/p/p.ini": TEXT}) == [
        {"name": "State of /etc/p", "ansible.builtin.file": declared}
    ]


def test_every_file_of_a_configuration_is_a_task():
    low = chunk("voip_config.managed", "/etc/r", files=["a", "b"])
    assert paths([low]) == (["/etc/r/a", "/etc/r/b"], [])
    assert len(tasks(low, files={"/etc/r/a": TEXT, "/etc/r/b": TEXT})) == 2


def test_a_directory_of_two_states_is_copied_once():
    low = [chunk("kamailio.tables", "/etc/k"), chunk("kamailio.configured", "/etc/k")]
    assert paths(low) == ([], ["/etc/k"])
    book = translate(low, Host({"/etc/k/a": TEXT, "/etc/k/b/c": TEXT, "/etc/kk": TEXT}, {}))
    assert [task["ansible.builtin.copy"]["dest"] for task in book.tasks] == [
        "/etc/k/a",
        "/etc/k/b/c",
    ]
    assert (book.states, book.left_out) == (2, {})


def test_a_component_is_its_packages():
    low = chunk("voip_package.installed", "kamailio")
    wanted = {"name": ["kamailio", "kamailio-tls"], "state": "present"}
    found = tasks(low, packages={"kamailio": ["kamailio", "kamailio-tls"]})
    assert found == [{"name": "State of kamailio", "ansible.builtin.apt": wanted}]


def test_what_ansible_has_no_module_for_is_counted():
    low = [chunk("voip_health.answers", name) for name in ("a", "b")]
    book = translate([*low, chunk("pkg.installed", "nftables")], Host({}, {}))
    assert (len(book.tasks), book.states, book.left_out) == (1, 1, {"voip_health.answers": 2})


def test_the_survey_reads_files_and_directories(tmp_path, capsys):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a").write_text("text\n")
    (tmp_path / "sub" / "a").chmod(0o640)
    order = {"paths": [f"{tmp_path}/none"], "trees": [str(tmp_path)]}
    runpy.run_path(str(Path(survey.__file__)), {"ORDER": order})
    printed = capsys.readouterr().out
    assert f'"{tmp_path}/sub/a": {{"mode": "0640"' in printed
    assert "none" not in printed
