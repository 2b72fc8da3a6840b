"""Which kernels the module is built for: the decision table, names, what files and logs say."""

import sys
from pathlib import Path

import pytest
import yaml

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "_utils"))

import voip_kernel  # noqa: E402

CASES = yaml.safe_load((HERE / "kernel_plans.yaml").read_text())


def facts(have):
    found = {"enabled": True, "container": False, "headers": {}, "candidates": {}, "packages": [],
             "built": [], "kernels": [have["running"]]}  # fmt: skip
    return found | have


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_plan(case):
    plan = voip_kernel.plan(facts(case["have"]))
    says = case["expect"].pop("says", "")
    assert {key: plan[key] for key in case["expect"]} == case["expect"]
    assert says in plan["reason"]
    assert bool(plan["reason"]) is (plan["verdict"] != "kernel")


@pytest.mark.parametrize(
    ("release", "flavour", "series"),
    [
        ("6.1.0-56-amd64", "amd64", "6.1"),
        ("6.1.0-56-cloud-arm64", "cloud-arm64", "6.1"),
        ("6.1.0-56-armmp-lpae", "armmp-lpae", "6.1"),
        ("6.1.0-56-686-pae", "686-pae", "6.1"),
        ("6.1.0-0.deb11.7-cloud-amd64", "cloud-amd64", "6.1"),
        ("6.12.9+bpo-rt-arm64", "rt-arm64", "6.12"),
        ("6.12.43+deb13-arm64-16k", "arm64-16k", "6.12"),
    ],
)
def test_parse(release, flavour, series):
    known = voip_kernel.parse(release)
    assert (known["flavour"], known["series"]) == (flavour, series)
    assert voip_kernel.header_package(release) == f"linux-headers-{release}"


@pytest.mark.parametrize("release", ["6.18.44-fc", "5.15.0-105-generic", "6.1.0", "", "6.1.0-56-"])
def test_parse_knows_its_own(release):
    assert voip_kernel.parse(release) is None
    assert voip_kernel.header_package(release) is None


@pytest.mark.parametrize(
    ("installed", "expected"),
    [
        (["6.1.0-9-amd64", "6.1.0-56-amd64"], "6.1.0-56-amd64"),
        (["6.1.0-56-amd64", "6.12.9+bpo-amd64"], "6.12.9+bpo-amd64"),
        (["6.1.0-56-cloud-amd64", "6.1.0-56-amd64"], "6.1.0-56-amd64"),
        ([], "6.1.0-9-amd64"),
    ],
)
def test_next_boot(installed, expected):
    assert voip_kernel.next_boot("6.1.0-9-amd64", installed) == expected


@pytest.mark.parametrize(
    ("version", "upstream"), [("10.5.3.5-1+deb12u1", "10.5.3.5"), ("1:13.4.1-2-3", "13.4.1-2")]
)
def test_upstream(version, upstream):
    assert voip_kernel.upstream(version) == upstream


def test_kernels():
    boot = ["config-6.1.0-9-amd64", "vmlinuz-6.1.0-56-amd64", "vmlinuz-6.1.0-9-amd64", "grub"]
    assert voip_kernel.kernels(boot, "6.1.0-10-amd64") == [
        "6.1.0-9-amd64", "6.1.0-10-amd64", "6.1.0-56-amd64"
    ]  # fmt: skip


def test_targets():
    assert voip_kernel.targets("Refcount:    1\nControl PID: 766\nTargets:     4\n") == (4, 766)
    assert voip_kernel.targets("") == (0, 0)


def test_uts_release():
    assert voip_kernel.uts_release('#define UTS_RELEASE "6.1.0-56-amd64"\n') == "6.1.0-56-amd64"
    assert voip_kernel.uts_release("") == ""


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("  CC [M]  x.o\n/x.c:9:1: error: unknown type name 'foo'\nmake[2]: *** x", "unknown type"),
        ("make: gcc-12: No such file\nmake[1]: *** [x.o] Error 127\n", "*** [x.o] Error 127"),
        ("all went well\n", ""),
    ],
)
def test_compiler_said(log, expected):
    said = voip_kernel.compiler_said(log)
    assert expected in said
    assert "\n" not in said


FLAVOURS = ("{arch}", "cloud-{arch}", "rt-{arch}")
ABIS = ("6.1.0-56", "6.12.43+deb13", "6.12.9+bpo")
# What is installed -> (facts, packages that the plan adds, whether it builds).
INSTALLED = {
    "nothing": ({}, ["headers", "meta"], True),
    "headers": ({"headers"}, ["meta"], True),
    "headers, metapackage": ({"headers", "meta"}, [], True),
    "all, and built": ({"headers", "meta", "built"}, [], False),
}


@pytest.mark.parametrize("installed", INSTALLED)
@pytest.mark.parametrize("abi", ABIS)
@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("arch", ["amd64", "arm64"])
def test_every_flavour_and_architecture(arch, flavour, abi, installed):
    flavour = flavour.format(arch=arch)
    release = f"{abi}-{flavour}"
    names = {"headers": f"linux-headers-{release}", "meta": f"linux-headers-{flavour}"}
    has, packages, builds = INSTALLED[installed]
    plan = voip_kernel.plan(facts({
        "running": release,
        "candidates": {name: f"{abi.split('+')[0]}.1-1" for name in names.values()},
        "packages": [names[item] for item in ("headers", "meta") if item in has],
        "headers": {release: release} if "headers" in has else {},
        "built": [release] if "built" in has else [],
    }))  # fmt: skip
    assert plan == {
        "verdict": "kernel", "reason": "", "next": release,
        "packages": [names[item] for item in packages], "build": [release] if builds else [],
    }  # fmt: skip
