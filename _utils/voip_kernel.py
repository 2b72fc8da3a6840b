"""Which kernels a module is built for, from what, and what stands in the way. No I/O, no dunders.

Debian's names: `uname -r` is `<abi>-<flavour>`, headers are linux-headers-<release>, and the
metapackage linux-headers-<flavour> follows upgrades (Debian kernel handbook, chapter 3).
"""

import re

_RELEASE = re.compile(
    r"""^(?P<abi>\d+(?:\.\d+)+
        (?: \+(?:bpo|deb\d+)(?:\.\d+)?          # 6.12.9+bpo, 6.12.43+deb13
          | -\d+\.(?:deb|bpo)\d+(?:\.\d+)?      # 6.1.0-0.deb11.7
          | -\d+ ))                             # 6.1.0-56
        -(?P<flavour>(?:(?:cloud|rt)-)?
        (?:amd64|arm64(?:-16k)?|armmp(?:-lpae)?|686(?:-pae)?|ppc64el|powerpc64le|riscv64|s390x))$""",
    re.VERBOSE,
)

# What `plan` finds; status and the state give its word as it is.
KERNEL = "kernel"
UNSUPPORTED = "unsupported"
DISABLED = "disabled"
REBOOT = "reboot required"
UPGRADE = "kernel upgrade required"
WRONG_HEADERS = "wrong headers"
NO_HEADERS = "no headers"


def parse(release):
    """Return {"abi", "flavour", "series"} of a Debian kernel's release, None for any other's.

    series: "6.1", what tells a backport from the suite's own kernel.
    """
    found = _RELEASE.match(release)
    if not found:
        return None
    series = ".".join(found["abi"].split(".")[:2])
    return {"abi": found["abi"], "flavour": found["flavour"], "series": series}


def kernels(boot, running):
    """Installed releases, oldest first: those with an image among /boot's names, and `running`."""
    images = {name.removeprefix("vmlinuz-") for name in boot if name.startswith("vmlinuz-")}
    return sorted(images | {running}, key=order)


def order(release):
    """A sort key: the numbers of a release, as boot loaders sort kernels."""
    return [int(number) for number in re.findall(r"\d+", release)]


def next_boot(running, installed):
    """The installed kernel that boots next: the newest, of the running one's flavour if equal."""
    if not installed:
        return running
    same = (parse(running) or {}).get("flavour")

    def key(release):
        known = parse(release) or {"abi": release, "flavour": ""}
        return order(known["abi"]), known["flavour"] == same

    return max(installed, key=key)


def upstream(version):
    """The part of a Debian version that names the source: 10.5.3.5 of 10.5.3.5-1+deb12u1."""
    return version.split(":")[-1].rpartition("-")[0] or version


def header_package(release):
    """The package with the headers of exactly this kernel; None when Debian has no such kernel."""
    return f"linux-headers-{release}" if parse(release) else None


def metapackages(release):
    """(headers, image) that follow upgrades of this flavour; None for a kernel not of Debian."""
    known = parse(release)
    if known is None:
        return None
    return f"linux-headers-{known['flavour']}", f"linux-image-{known['flavour']}"


def packages_of_interest(running, installed):
    """The names that `plan` wants to know the candidates of."""
    names = []
    for release in dict.fromkeys([running, next_boot(running, installed)]):
        names += [header_package(release), *(metapackages(release) or ())]
    return [name for name in dict.fromkeys(names) if name]


def plan(facts):
    """Return {"verdict", "reason", "packages", "build", "next"}: what is to be done, and why not.

    facts:
      enabled, container: bool
      running: `uname -r`; kernels: installed releases
      headers: {release: UTS_RELEASE found in /lib/modules/<release>/build, "" when unreadable}
      candidates: {package: version that apt would install}; packages: installed names
      built: releases that have the module already
    verdict: one of this file's words. KERNEL: the running kernel has the module after `packages`
    and `build`. reason: a sentence for operators, "" with KERNEL. packages: to install first.
    build: releases to build for, the running one first. next: the release that boots next.
    """
    running, upcoming = facts["running"], next_boot(facts["running"], facts["kernels"])
    nothing = {"packages": [], "build": [], "next": upcoming}
    if facts["container"]:
        return nothing | {"verdict": UNSUPPORTED, "reason": "shared kernel"}
    if not facts["enabled"]:
        return nothing | {"verdict": DISABLED, "reason": "pillar has it off"}
    packages, build = [], []
    for release in dict.fromkeys([running, upcoming]):
        if _is_usable(facts, release):
            build.append(release)
        elif _is_to_be_had(facts, release):
            packages.append(header_package(release))
            build.append(release)
    packages += _follower(facts, upcoming)
    verdict, reason = _verdict(facts, running, upcoming, build)
    build = [release for release in build if release not in facts["built"]]
    return {"verdict": verdict, "reason": reason, "packages": packages, "build": build,
            "next": upcoming}  # fmt: skip


def _is_usable(facts, release):
    return facts["headers"].get(release) == release


def _is_to_be_had(facts, release):
    package = header_package(release)
    return package in facts["candidates"] and package not in facts["packages"]


def _follower(facts, release):
    """The metapackage of headers, unless it would bring those of another series (a backport's)."""
    known = parse(release)
    if known is None:
        return []
    headers, _ = metapackages(release)
    offered = facts["candidates"].get(headers, "")
    if headers in facts["packages"] or not offered.startswith(f"{known['series']}."):
        return []
    return [headers]


def _verdict(facts, running, upcoming, build):
    if running in build or running in facts["built"]:
        return KERNEL, ""
    if running in facts["headers"] and header_package(running) in facts["packages"]:
        found = facts["headers"][running] or "none"
        return WRONG_HEADERS, (
            f"/lib/modules/{running}/build holds the headers of {found}: "
            f"apt-get install --reinstall {header_package(running)}"
        )
    if upcoming != running:
        return REBOOT, (
            f"the headers of the running {running} are not to be had any more; "
            f"{upcoming} is installed and boots next"
        )
    if parse(running) is None:
        return NO_HEADERS, (
            f"{running} is no kernel of Debian's: "
            f"/lib/modules/{running}/build must hold its headers"
        )
    _, image = metapackages(running)
    if image in facts["candidates"]:
        return UPGRADE, (
            f"no archive has {header_package(running)} any more: install {image} "
            f"({facts['candidates'][image]}) and reboot"
        )
    return NO_HEADERS, f"no archive of this host has {header_package(running)}"


def uts_release(text):
    """UTS_RELEASE of include/generated/utsrelease.h, "" when it says none."""
    found = re.search(r'^#define\s+UTS_RELEASE\s+"([^"]+)"', text, re.MULTILINE)
    return found[1] if found else ""


def targets(text):
    """(streams, pid of the daemon that holds the table) of /proc/rtpengine/<table>/status."""
    values = dict(re.findall(r"^([A-Z][\w ]*?):\s*(\d+)\s*$", text, re.MULTILINE))
    return int(values.get("Targets", 0)), int(values.get("Control PID", 0))


def compiler_said(text):
    """The first error of a build's log in one line, "" when there is none."""
    for pattern in (r"^.*?\b(?:fatal )?error: .*$", r"^make.*\*\*\* .*$", r"^.*\bError! .*$"):
        if found := re.search(pattern, text, re.MULTILINE):
            return found[0].strip()[:300]
    return ""
