"""RTPEngine's kernel module on this host: have it, hand RTP packets to it, and tell.

Root on the minion; no Vault access. Decisions are in `voip_kernel`, the build in
`voip_kernel_build`, the rule in `voip_kernel_rule`. Nothing here stops media: without its module
RTPEngine forwards in user space.
"""

import contextlib
import os
import pwd

import voip_dpkg
import voip_files
import voip_kernel
import voip_kernel_build
import voip_kernel_rule
from salt.exceptions import CommandExecutionError
from voip_kernel_build import MODULE
from voip_kernel_rule import PROC, UNIT
from voip_process import must, read, run

__virtualname__ = "rtpengine_module"

DAEMON = "rtpengine-daemon.service"

_CONTAINER = "/run/systemd/container"
_SYS = f"/sys/module/{MODULE}"
_NO_AUTOINSTALL = "/etc/dkms/no-autoinstall"
# The module as DKMS source, iptables' part of it, and what writes the rule.
_PACKAGES = ("rtpengine-kernel-dkms", "rtpengine-iptables", "iptables")
# Of one source package with the daemon: another version's module is refused by it.
_SAME_VERSION = ("rtpengine-kernel-dkms", "rtpengine-iptables")
_DAEMON_PACKAGE = "rtpengine-daemon"
_APT = (
    "apt-get", "-y", "-q", "-o", "DPkg::Lock::Timeout=120", "-o", "Dpkg::Use-Pty=0",
    "-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold",
)  # fmt: skip


def __virtual__():
    if not os.path.exists("/var/lib/dpkg/status"):
        return False, "this host has no dpkg"
    return __virtualname__


def is_container():
    """Return True where the kernel is another's: systemd says so to everything in a container."""
    return os.path.exists(_CONTAINER)


def wanted():
    """Return {"mode", "reason"} that RTPEngine is configured for on this host.

    "kernel" also where the module is still to be built: without it the daemon says so and forwards
    in user space, and it takes the table at its next start.
    """
    if is_container():
        return {"mode": "userspace", "reason": "shared kernel"}
    if not _settings()["enabled"]:
        return {"mode": "userspace", "reason": "pillar has the module off"}
    return {"mode": "kernel", "reason": MODULE}


def _settings():
    voip = __pillar__.get("voip", {})
    settings = voip.get("rtpengine", {})
    first, last = voip.get("ports", {}).get("rtpengine", {}).get("rtp", (1024, 65535))
    return {
        "enabled": settings.get("kernel_module", True),
        "table": settings.get("kernel_table", 0),
        "ports": f"{first}:{last}",
    }


def _rule():
    settings = _settings()
    return voip_kernel_rule.rule(settings["ports"], settings["table"])


# What is there


def _installed():
    return voip_dpkg.installed(read("/var/lib/dpkg/status"))


def _kernels():
    return voip_kernel.kernels(os.listdir("/boot"), os.uname().release)


def _candidates(names):
    return voip_dpkg.candidates(run(["apt-cache", "policy", *names]).stdout)


def _is_loaded():
    return os.path.isdir(_SYS)


def _is_current(release):
    """Whether the loaded module is the file on disk: they share the linker's build id."""
    path = voip_kernel_build.module_file(release)
    try:
        with open(f"{_SYS}/notes/.note.gnu.build-id", "rb") as note, open(path, "rb") as file:
            return note.read() in file.read()
    except (OSError, TypeError):
        return True  # nothing to compare: not our reason to unload it


def _daemon_pid():
    text = run(["systemctl", "show", "--property=MainPID", "--value", DAEMON]).stdout.strip()
    return int(text) if text.isdigit() else 0


def _table():
    """(streams, pid of the daemon that holds it) of our table, (0, 0) when there is none."""
    return voip_kernel.targets(read(f"{PROC}/{_settings()['table']}/status"))


def _files():
    try:
        owner = pwd.getpwnam("rtpengine")
    except KeyError as err:
        raise CommandExecutionError("RTPEngine is not installed: no user rtpengine") from err
    return voip_kernel_rule.files(_rule(), (owner.pw_uid, owner.pw_gid), DAEMON)


def facts():
    """Return what `voip_kernel.plan` wants to know of this host."""
    running, kernels, installed = os.uname().release, _kernels(), _installed()
    version = voip_kernel.upstream(installed.get(_DAEMON_PACKAGE, ""))
    found = {release: voip_kernel_build.headers(release) for release in kernels}
    names = voip_kernel.packages_of_interest(running, kernels)
    # apt-cache reads for a second: only where a package may be missing.
    is_complete = all(name in installed for name in names)
    return {
        "enabled": _settings()["enabled"],
        "container": is_container(),
        "running": running,
        "kernels": kernels,
        "headers": {release: text for release, text in found.items() if text is not None},
        "packages": [name for name in installed if name.startswith("linux-")],
        "built": [
            release for release in kernels
            if version and voip_kernel_build.built(release) == version
        ],
        "version": version,
        "candidates": {} if is_complete else _candidates(names),
    }  # fmt: skip


def plan():
    """Return the plan for this host (see `voip_kernel.plan`), and "version" to build.

    CLI Example:

    .. code-block:: bash

        salt media-1 rtpengine_module.plan
    """
    if is_container():
        running = os.uname().release
        known = {"enabled": True, "container": True, "running": running, "kernels": [running]}
        return voip_kernel.plan(known) | {"version": ""}
    known = facts()
    return voip_kernel.plan(known) | {"version": known["version"]}


def diff():
    """Return (plan, {what: {"old", "new"}}): all that `apply` would change, {} when all is done."""
    found = plan()
    if found["verdict"] in (voip_kernel.UNSUPPORTED, voip_kernel.DISABLED):
        return found, {}
    installed = _installed()
    same = installed.get(_DAEMON_PACKAGE)
    if not same:  # a prediction on a bare host: the same run would install it first
        return found, {"module": {"old": "", "new": f"built once {_DAEMON_PACKAGE} is installed"}}
    changes = {}
    for name in (*_PACKAGES, *found["packages"]):
        if name not in installed or (name in _SAME_VERSION and installed[name] != same):
            new = same if name in _SAME_VERSION else "installed"
            changes[f"package {name}"] = {"old": installed.get(name, ""), "new": new}
    for release in found["build"]:
        old = voip_kernel_build.built(release)
        changes[f"module for {release}"] = {"old": old, "new": found["version"]}
    for path, text in _files().items():
        if read(path) != text:
            changes[path] = {"old": "other" if os.path.exists(path) else "", "new": "written"}
    if not os.path.exists(f"/etc/systemd/system/multi-user.target.wants/{UNIT}"):
        changes[f"{UNIT} at boot"] = {"old": "disabled", "new": "enabled"}
    if found["verdict"] == voip_kernel.KERNEL:
        changes |= _running_diff(found)
    return found, changes


def _running_diff(found):
    running = os.uname().release
    changes = {}
    if not _is_loaded():
        changes["loaded"] = {"old": "", "new": found["version"]}
    elif running in found["build"] or not _is_current(running):
        changes["loaded"] = {"old": "another build", "new": found["version"]}
    for tool in voip_kernel_rule.tools():
        if not voip_kernel_rule.is_in_place(tool, _rule()):
            old = "; ".join(voip_kernel_rule.present(tool))
            changes[f"{tool} rule"] = {"old": old, "new": " ".join(_rule())}
    pid = _daemon_pid()
    if pid and ("loaded" in changes or _table()[1] != pid) and not _sessions():
        changes["daemon"] = {"old": "user space", "new": f"table {_settings()['table']}"}
    return changes


def _sessions():
    """Calls that a restart of the daemon would cut; 0 when it does not answer."""
    with contextlib.suppress(CommandExecutionError, KeyError):
        ((_, counters),) = __salt__["rtpengine.statistics"](__grains__["id"]).items()
        return int(counters["current"]["sessionsown"])
    return 0


# What is done


def apply(changes, version):
    """Do what `diff` found. Raises CommandExecutionError; media goes on in user space then.

    A build that fails for the next kernel does not keep the running one from being used.
    """
    _write_files(changes)
    _install(changes)
    failure = _build(changes, version)
    running = f"module for {os.uname().release}"
    if not failure or running not in changes or voip_kernel_build.built(os.uname().release):
        _use(changes)
    if failure:
        raise failure


def _build(changes, version):
    """Build for each kernel; return the first failure, None without."""
    failure = None
    for what in changes:
        if what.startswith("module for "):
            try:
                voip_kernel_build.build(what.removeprefix("module for "), version)
            except CommandExecutionError as err:
                failure = failure or err
    return failure


def _use(changes):
    if "loaded" in changes:
        _load()
    if any(what.endswith(" rule") for what in changes) or "loaded" in changes:
        voip_kernel_rule.drop()
        must(["systemctl", "restart", UNIT], "The rule for RTP packets")
    if "daemon" in changes:
        __salt__["voip_service.restart"](DAEMON)


def _write_files(changes):
    texts = _files()
    for path, text in texts.items():
        if path in changes:
            voip_files.write(path, text, 0o644)
    if any(what in changes for what in texts) or f"{UNIT} at boot" in changes:
        must(["systemctl", "daemon-reload"], "systemd")
        must(["systemctl", "enable", UNIT], f"Enabling {UNIT}")


def _install(changes):
    names = []
    for what, change in changes.items():
        if what.startswith("package "):
            name = what.removeprefix("package ")
            names.append(f"{name}={change['new']}" if name in _SAME_VERSION else name)
    if not names:
        return
    # DKMS' package scripts would build, and a build that fails leaves dpkg broken for everything.
    existed = os.path.exists(_NO_AUTOINSTALL)
    if not existed:
        voip_files.write(_NO_AUTOINSTALL, "", 0o644)
    try:
        argv = [*_APT, "install", "--no-install-recommends", *names]
        done = run(argv, voip_kernel_build.BUILD_S)
    finally:
        if not existed:
            os.unlink(_NO_AUTOINSTALL)
    if done.returncode:
        said = done.stdout + done.stderr
        raise CommandExecutionError(
            voip_dpkg.fetch_failure(said) or f"apt-get install: {voip_dpkg.errors(said)}"
        )


def _load():
    """Load the module on disk; another build of it goes first, and the daemon that holds it."""
    if not _is_loaded():
        _modprobe()
        return
    run(["systemctl", "stop", DAEMON])
    try:
        voip_kernel_rule.drop()
        with contextlib.suppress(OSError), open(f"{PROC}/control", "w") as control:
            control.write(f"del {_settings()['table']}\n")
        must(["modprobe", "-r", MODULE], f"Unloading {MODULE}")
        _modprobe()
    finally:
        run(["systemctl", "start", DAEMON])


def _modprobe():
    done = run(["modprobe", MODULE])
    if done.returncode == 0:
        return
    said = done.stderr.strip()
    if "Key was rejected" in said:
        said = (
            f"Secure Boot refuses the module until its key is enrolled: "
            f"mokutil --import {voip_kernel_build.CERTIFICATE}, reboot, and confirm at the console"
        )
    raise CommandExecutionError(f"Loading {MODULE}: {said}")


def status():
    """Return what an operator wants to know of the module on this host.

    verdict, reason: see `voip_kernel.plan`. kernel: running; next: boots next. built: {release:
    source version}. loaded; table: its number while the daemon holds it, None otherwise. rule: in
    the packet filter. in_kernel: RTP streams forwarded by the kernel now. is_forwarding: module,
    rule, and the daemon's table are all there. problem: a sentence when something is not as it
    could be. log: the compiler's, after a build that failed.

    CLI Example:

    .. code-block:: bash

        salt media-1 rtpengine_module.status
    """
    found = plan()
    running = os.uname().release
    if found["verdict"] in (voip_kernel.UNSUPPORTED, voip_kernel.DISABLED):
        return {"verdict": found["verdict"], "reason": found["reason"], "kernel": running,
                "is_forwarding": False, "problem": ""}  # fmt: skip
    streams, holder = _table()
    pid = _daemon_pid()
    is_held = bool(pid) and holder == pid
    has_rule = all(voip_kernel_rule.is_in_place(tool, _rule()) for tool in voip_kernel_rule.tools())
    is_forwarding = _is_loaded() and has_rule and is_held
    reason = found["reason"] or _missing(found, has_rule, is_held)
    logs = [voip_kernel_build.log_path(release) for release in found["build"]]
    return {
        "verdict": found["verdict"],
        "reason": reason,
        "kernel": running,
        "next": found["next"],
        "built": {
            release: voip_kernel_build.built(release)
            for release in _kernels() if voip_kernel_build.module_file(release)
        },
        "loaded": _is_loaded(),
        "table": _settings()["table"] if is_held else None,
        "rule": has_rule,
        "in_kernel": streams,
        "is_forwarding": is_forwarding,
        "problem": _problem(found, is_forwarding, reason),
        "log": next((log for log in logs if os.path.exists(log)), None),
    }  # fmt: skip


def _missing(found, has_rule, is_held):
    """Why packets go through user space although the plan has nothing against the kernel."""
    if os.uname().release in found["build"]:
        return _unbuilt(os.uname().release)
    if not _is_loaded():
        return "the module is not loaded"
    if not is_held:
        return "the daemon has not taken the table: it started before the module was loaded"
    return "" if has_rule else "no rule hands RTP packets to the module"


def _problem(found, is_forwarding, reason):
    if not is_forwarding:
        return f"RTP goes through user space: {reason}"
    if found["next"] in found["build"]:
        return f"{found['next']} boots next, and {_unbuilt(found['next'])}"
    return ""


def _unbuilt(release):
    said = voip_kernel.compiler_said(read(voip_kernel_build.log_path(release)))
    return f"the build failed: {said}" if said else "the module is not built"
