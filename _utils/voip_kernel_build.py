"""Build xt_RTPENGINE for one kernel: by DKMS, or plainly with make; sign it; keep the log.

Root; no dunders. What to build for is decided in voip_kernel.
"""

import os
import re
import shutil

import voip_files
import voip_kernel
from salt.exceptions import CommandExecutionError
from voip_process import must, read, run

MODULE = "xt_RTPENGINE"
# The machine owner's key that DKMS makes and uses too (docs/kernel-module.md, Secure Boot).
KEY, CERTIFICATE = "/var/lib/dkms/mok.key", "/var/lib/dkms/mok.pub"
BUILD_S = 1800

_MODULES = "/lib/modules"
_LOGS = "/var/log/voip-stack"
_SOURCES = "/usr/src"
_STAMPS = "/var/lib/voip-stack/rtpengine-module"
# Always the same: a file's name is in what is compiled, and the same source gives the same module.
_PLAIN = "/var/lib/voip-stack/rtpengine-build"


def headers(release):
    """UTS_RELEASE of the headers that a kernel's build link holds: "" unreadable, None no link."""
    tree = _tree(release)
    if not os.path.lexists(tree):
        return None
    return voip_kernel.uts_release(read(f"{tree}/include/generated/utsrelease.h"))


def module_file(release):
    """The module's file for a kernel, wherever DKMS or a plain build put it; None without."""
    for place in ("updates/dkms", "updates/voip", "extra"):
        path = os.path.join(_MODULES, release, place, f"{MODULE}.ko")
        if os.path.exists(path):
            return path
    return None


def built(release):
    """The source version that the module of a kernel was built from, "" without a module.

    The module itself does not tell it; what was built by others (DKMS at a kernel upgrade) is of
    the source that DKMS has.
    """
    path = module_file(release)
    if path is None:
        return ""
    stamp = read(_stamp(release)).split()
    if len(stamp) == 2 and stamp[1] == str(int(os.path.getmtime(path))):
        return stamp[0]
    said = run(["dkms", "status", "rtpengine", "-k", release]).stdout if _has_dkms() else ""
    found = re.search(rf"^rtpengine/([^,]+), {re.escape(release)},.*: installed", said, re.M)
    return found[1] if found else "unknown"


def build(release, version):
    """Build and install the module for one kernel.

    The compiler's log is kept at `log_path`. Raises CommandExecutionError with its first error.
    """
    os.makedirs(_LOGS, mode=0o755, exist_ok=True)
    found = headers(release)
    if found != release:
        raise CommandExecutionError(
            f"{_tree(release)} holds the headers of {found or 'no kernel'}, not of {release}"
        )
    if not os.path.isdir(f"{_SOURCES}/rtpengine-{version}"):
        raise CommandExecutionError(f"{_SOURCES}/rtpengine-{version} is not there")
    (_by_dkms if _has_dkms() else _plainly)(release, version)
    path = module_file(release)
    if path is None:
        raise CommandExecutionError(f"the build for {release} left no {MODULE}.ko")
    made_for = must(["modinfo", "-F", "vermagic", path], path).split()
    if made_for[:1] != [release]:
        raise CommandExecutionError(f"{path} was built for {' '.join(made_for[:1])}, not {release}")
    voip_files.write(_stamp(release), f"{version} {int(os.path.getmtime(path))}\n", 0o644)


def log_path(release):
    """Where the compiler's log of a kernel's last build is."""
    return f"{_LOGS}/rtpengine-module-{release}.log"


def _tree(release):
    return os.path.join(_MODULES, release, "build")


def _stamp(release):
    return os.path.join(_STAMPS, release)


def _has_dkms():
    return shutil.which("dkms") is not None


def _by_dkms(release, version):
    which = ["-m", "rtpengine", "-v", version]
    if not os.path.isdir(f"/var/lib/dkms/rtpengine/{version}"):
        must(["dkms", "add", *which], "dkms add")
    done = run(["dkms", "build", "--force", *which, "-k", release], BUILD_S)
    said = done.stdout + done.stderr + "".join(map(read, _dkms_logs(version, release)))
    voip_files.write(log_path(release), said, 0o644)
    if done.returncode:
        raise _failed(release, said)
    must(["dkms", "install", "--force", *which, "-k", release], "dkms install", BUILD_S)


def _dkms_logs(version, release):
    """DKMS' make.log: below `build` after a failure, below the kernel's name after a success."""
    root = f"/var/lib/dkms/rtpengine/{version}"
    return [f"{root}/build/make.log", f"{root}/{release}/{os.uname().machine}/log/make.log"]


def _plainly(release, version):
    shutil.rmtree(_PLAIN, ignore_errors=True)
    try:
        shutil.copytree(f"{_SOURCES}/rtpengine-{version}", _PLAIN)
        argv = [
            "make", f"-j{os.cpu_count()}", "-C", _tree(release), f"M={_PLAIN}",
            f"RTPENGINE_VERSION={version}", "modules",
        ]  # fmt: skip
        done = run(argv, BUILD_S)
        said = done.stdout + done.stderr
        voip_files.write(log_path(release), said, 0o644)
        made = os.path.join(_PLAIN, f"{MODULE}.ko")
        if done.returncode or not os.path.exists(made):
            raise _failed(release, said)
        _sign(made, f"{_tree(release)}/scripts/sign-file")
        target = os.path.join(_MODULES, release, "updates/voip")
        os.makedirs(target, mode=0o755, exist_ok=True)
        shutil.copyfile(made, f"{target}/{MODULE}.ko")
    finally:
        shutil.rmtree(_PLAIN, ignore_errors=True)
    must(["depmod", release], "depmod")


def _sign(path, tool):
    """Sign as DKMS does: with the machine owner's key, made once, whether demanded today or not.

    A host on which Secure Boot is switched on later then needs the key enrolled, no new build.
    """
    if not os.path.exists(tool):
        return
    if not os.path.exists(KEY):
        os.makedirs(os.path.dirname(KEY), mode=0o700, exist_ok=True)
        argv = [
            "openssl", "req", "-new", "-x509", "-nodes", "-days", "36500", "-newkey", "rsa:2048",
            "-subj", "/CN=DKMS module signing key", "-outform", "DER",
            "-keyout", KEY, "-out", CERTIFICATE,
        ]  # fmt: skip
        must(argv, "Making the signing key")
        os.chmod(KEY, 0o600)
    must([tool, "sha256", KEY, CERTIFICATE, path], "Signing the module")


def _failed(release, said):
    reason = voip_kernel.compiler_said(said) or "the build failed"
    return CommandExecutionError(f"building for {release}: {reason} (log: {log_path(release)})")
