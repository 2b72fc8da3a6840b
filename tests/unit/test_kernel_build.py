"""The build's and the rule's own files, on a machine that is only a directory."""

import sys
from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError

sys.path[:0] = [str(Path(__file__).parents[2] / "_utils")]

import voip_kernel_build as build  # noqa: E402
import voip_kernel_rule as rule  # noqa: E402

RELEASE = "6.1.0-56-arm64"


@pytest.fixture
def tree(tmp_path, monkeypatch):
    for name in ("_MODULES", "_LOGS", "_SOURCES", "_STAMPS"):
        monkeypatch.setattr(build, name, str(tmp_path / name))
    monkeypatch.setattr(build, "_has_dkms", lambda: True)
    return tmp_path


def headers(tree, says):
    file = tree / "_MODULES" / RELEASE / "build/include/generated/utsrelease.h"
    file.parent.mkdir(parents=True)
    file.write_text(f'#define UTS_RELEASE "{says}"\n')


def module(tree, place="updates/dkms"):
    file = tree / "_MODULES" / RELEASE / place / "xt_RTPENGINE.ko"
    file.parent.mkdir(parents=True)
    file.touch()
    return file


def test_headers(tree):
    assert build.headers(RELEASE) is None
    headers(tree, "6.1.0-50-arm64")
    assert build.headers(RELEASE) == "6.1.0-50-arm64"


def test_a_link_to_removed_headers_is_no_answer(tree):
    (tree / "_MODULES" / RELEASE).mkdir(parents=True)
    (tree / "_MODULES" / RELEASE / "build").symlink_to("/nowhere")
    assert build.headers(RELEASE) == ""


@pytest.mark.parametrize("says", ["6.1.0-50-arm64", "6.1.0-56-cloud-arm64"])
def test_nothing_is_built_from_another_kernels_headers(tree, monkeypatch, says):
    headers(tree, says)
    monkeypatch.setattr(build, "run", lambda *_: pytest.fail("a command ran"))
    with pytest.raises(CommandExecutionError, match=f"headers of {says}, not of {RELEASE}"):
        build.build(RELEASE, "10.5.3.5")


def test_no_source(tree):
    headers(tree, RELEASE)
    with pytest.raises(CommandExecutionError, match=r"rtpengine-10\.5\.3\.5 is not there"):
        build.build(RELEASE, "10.5.3.5")


@pytest.mark.parametrize("has_dkms", [True, False])
def test_dkms_where_it_is_plainly_elsewhere(tree, monkeypatch, has_dkms):
    headers(tree, RELEASE)
    (tree / "_SOURCES/rtpengine-10.5.3.5").mkdir(parents=True)
    done = []
    monkeypatch.setattr(build, "_has_dkms", lambda: has_dkms)
    for way in ("_by_dkms", "_plainly"):
        monkeypatch.setattr(build, way, lambda *_, way=way: (done.append(way), module(tree)))
    monkeypatch.setattr(build, "must", lambda *_: f"{RELEASE} SMP mod_unload aarch64\n")
    build.build(RELEASE, "10.5.3.5")
    assert done == ["_by_dkms" if has_dkms else "_plainly"]
    assert build.built(RELEASE) == "10.5.3.5"


def test_a_module_for_another_kernel_is_refused(tree, monkeypatch):
    headers(tree, RELEASE)
    (tree / "_SOURCES/rtpengine-1").mkdir(parents=True)
    monkeypatch.setattr(build, "_by_dkms", lambda *_: module(tree))
    monkeypatch.setattr(build, "must", lambda *_: "6.1.0-50-arm64 SMP\n")
    with pytest.raises(CommandExecutionError, match=r"was built for 6\.1\.0-50-arm64"):
        build.build(RELEASE, "1")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (f"rtpengine/10.5.3.5, {RELEASE}, aarch64: installed\n", "10.5.3.5"),
        (f"rtpengine/10.5.3.5, {RELEASE}, aarch64: built\n", "unknown"),
        ("", "unknown"),
    ],
)
def test_what_others_built(tree, monkeypatch, said, expected):
    """DKMS at a kernel upgrade: there is no stamp of ours."""
    assert build.built(RELEASE) == ""
    module(tree)
    monkeypatch.setattr(build, "run", lambda *_: type("Done", (), {"stdout": said}))
    assert build.built(RELEASE) == expected


def test_a_failed_build_names_the_error_and_the_log():
    error = build._failed(RELEASE, "x.c:1:1: error: no member named y\nmake: *** Error 1\n")
    assert "error: no member named y" in str(error)
    assert f"rtpengine-module-{RELEASE}.log" in str(error)


def test_nothing_to_sign_with(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "must", lambda *_: pytest.fail("a command ran"))
    build._sign("module.ko", str(tmp_path / "no-sign-file"))


def test_the_key_is_made_once(tmp_path, monkeypatch):
    key, tool, ran = tmp_path / "mok.key", tmp_path / "sign-file", []
    tool.touch()

    def must(argv, what):
        ran.append(what)
        key.touch()

    monkeypatch.setattr(build, "KEY", str(key))
    monkeypatch.setattr(build, "must", must)
    build._sign("module.ko", str(tool))
    build._sign("module.ko", str(tool))
    assert ran == ["Making the signing key", "Signing the module", "Signing the module"]
    assert key.stat().st_mode & 0o777 == 0o600


WANTED = rule.rule("30000:39999", 0)


@pytest.mark.parametrize(
    ("lines", "is_so"),
    [
        ([f"-A {' '.join(WANTED)}"], True),
        ([f"-A {' '.join(WANTED)}"] * 2, False),
        ([f"-A {' '.join(rule.rule('30000:39999', 1))}"], False),
        ([f"-A {' '.join(rule.rule('1024:65535', 0))}"], False),
        ([], False),
    ],
)
def test_exactly_our_rule(monkeypatch, lines, is_so):
    out = "\n".join(["-P INPUT ACCEPT", "-A INPUT -p tcp -j ACCEPT", *lines])
    monkeypatch.setattr(rule, "run", lambda argv: type("Done", (), {"stdout": out}))
    assert rule.is_in_place("iptables", WANTED) is is_so


def test_files_close_the_table_to_others(monkeypatch):
    monkeypatch.setattr(rule, "tools", lambda: ("iptables", "ip6tables"))
    files = rule.files(WANTED, (107, 115), "rtpengine-daemon.service")
    assert "proc_uid=107 proc_gid=115 proc_mask=0x7" in files["/etc/modprobe.d/voip-rtpengine.conf"]
    unit = files[f"/etc/systemd/system/{rule.UNIT}"]
    assert "Before=rtpengine-daemon.service" in unit
    assert "ip6tables -w -I INPUT 1 -p udp" in unit
