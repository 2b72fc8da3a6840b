"""Packages of the platform's components on this host: compare, install, report.

Root on the minion, pillar `voip:packages` and `voip:versions`; no Vault access. Built packages come
from the master's saltenv `packages` and become a local apt repository of their own, one per
component; everything else comes from the host's Debian archive.
"""

import contextlib
import fnmatch
import hashlib
import os
import shutil
import subprocess
import time

import voip_dpkg
import voip_files
import voip_version
from salt.exceptions import CommandExecutionError

__virtualname__ = "voip_package"

_STATUS = "/var/lib/dpkg/status"
_LISTS = "/var/lib/apt/lists"
_REPOSITORIES = "/var/lib/voip-stack/packages"
_SOURCES = "/etc/apt/sources.list.d"
_KEYRINGS = "/etc/apt/keyrings"
_POLICY = "/usr/sbin/policy-rc.d"
_POLICY_TEXT = "#!/bin/sh\n# voip-stack: no service starts before it is configured\nexit 101\n"
_BUILT = ("local", "backport", "source")  # these come from the master
_LISTS_MAX_AGE_S = 86_400
_UNKNOWN = "the archive's newest"
_APT = (
    "apt-get", "-y", "-q",
    "-o", "DPkg::Lock::Timeout=120", "-o", "Dpkg::Use-Pty=0",
    "-o", "Acquire::http::Timeout=20", "-o", "Acquire::https::Timeout=20",
    "-o", "Acquire::Retries=1",
)  # fmt: skip


def __virtual__():
    if not os.path.exists(_STATUS):
        return False, "this host has no dpkg"
    return __virtualname__


def diff(name):
    """Return {package: {old, new}}: what `install` would change for component `name`.

    A version unknown before the archive's lists are read is given in words. Raises
    CommandExecutionError when the component is not to be had, or its version is refused.
    """
    component = _component(name)
    have = _installed()
    exact = component.get("debs", {})
    changes, open_ = {}, []
    for package in component["install"]:
        if package in exact:
            if have.get(package) != exact[package]:
                changes[package] = {"old": have.get(package, ""), "new": exact[package]}
        elif package not in have or _refused(name, package, have[package]):
            open_.append(package)
    found = _candidates(open_)
    for package in open_:
        changes[package] = {"old": have.get(package, ""), "new": found.get(package, _UNKNOWN)}
    for package, change in changes.items():
        if change["new"] != _UNKNOWN:
            _check(name, package, change["new"])
    return changes


def install(name):
    """Install component `name` as pillar declares it. Returns {package: {old, new}}.

    Services are not started: policy-rc.d forbids it while dpkg works. That is Debian's own way, and
    unlike masking a unit it leaves nothing behind that a later state has to undo. A running service
    is not restarted either: the state that runs it watches the package.
    """
    component = _component(name)
    before = _installed()
    try:
        _set_up_archive(name, component)
    except OSError as err:
        raise CommandExecutionError(f"{name}: its packages find no place here: {err}") from err
    if not _lists_are_usable():
        _update()
    changes = diff(name)  # now with the archive's own candidates
    if not changes:
        return {}
    if unknown := sorted(key for key, value in changes.items() if value["new"] == _UNKNOWN):
        raise CommandExecutionError(
            f"{name}: no archive of this host has {', '.join(unknown)}"
            f" (source: {component.get('source', 'debian')})"
        )
    wanted = [f"{package}={change['new']}" for package, change in changes.items()]
    argv = [
        *_APT, "install", "--no-install-recommends", "--allow-downgrades",
        "-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold", *wanted,
    ]  # fmt: skip
    with _services_stay_down():
        done = _run(argv)
        if done.returncode and voip_dpkg.fetch_failure(done.stdout):
            _update()  # the archive has moved on since its lists were read
            done = _run(argv)
    if done.returncode:
        raise CommandExecutionError(
            voip_dpkg.fetch_failure(done.stdout) or _apt_failed(f"Installing {name}", done.stdout)
        )
    __context__.pop("voip_package.installed", None)
    after = _installed()
    return {
        package: {"old": before.get(package, ""), "new": after.get(package, "")}
        for package in changes
    }


def status(name=None):
    """Return {component: {source, package, version, safe, minimum, why, ok, problem}} of this host.

    version: installed, "" when it is not. ok: installed and not below the floor. problem: a
    sentence when not ok.

    CLI Example: salt '*' voip_package.status
    """
    voip = __pillar__.get("voip", {})
    names = [name] if name else voip.get("self", {}).get("components", [])
    have = _installed()
    report = {}
    for item in names:
        component = voip.get("packages", {}).get(item)
        floor = voip.get("versions", {}).get(item, {})
        if component:
            package = component["install"][0]
            source, version = component.get("source", "debian"), have.get(package, "")
        elif f"{item}.version" in __salt__:
            package, source, version = item, "pypi", __salt__[f"{item}.version"]() or ""
        else:
            continue
        problem = (
            voip_version.refusal(item, version, floor) if version else f"{item} is not installed"
        )
        report[item] = {
            "source": source,
            "package": package,
            "version": version,
            "safe": voip_version.lowest_safe(version, floor),
            "minimum": floor.get("minimum", ""),
            "why": floor.get("why", ""),
            "ok": problem is None,
            "problem": problem or "",
        }
    return report


def check(name, version):
    """Raise CommandExecutionError when `version` of component `name` is below its floor.

    For components that do not come as Debian packages. Returns True.
    """
    problem = voip_version.refusal(name, version, _floor(name))
    if problem:
        raise CommandExecutionError(problem)
    return True


def _component(name):
    component = __pillar__.get("voip", {}).get("packages", {}).get(name)
    if component is None:
        raise CommandExecutionError(f"pillar packages.components has no {name} for this host")
    # Without a record the packages were never prepared; only Debian's own need no preparation.
    unprepared = "debian" if component["sources"] == ["debian"] else None
    if component.get("source", unprepared) is None:
        tried = [f"{item['source']}: {item['result']}" for item in component.get("tried", [])]
        why = f"tried {'; '.join(tried)}" if tried else "its packages were not prepared: voip up"
        raise CommandExecutionError(f"{name} is not available for this host ({why})")
    return component


def _floor(name):
    return __pillar__.get("voip", {}).get("versions", {}).get(name, {})


def _refused(name, package, version):
    # Only the first package carries the component's version.
    if package != _component(name)["install"][0]:
        return None
    return voip_version.refusal(name, version, _floor(name))


def _check(name, package, version):
    problem = _refused(name, package, version)
    if problem:
        raise CommandExecutionError(problem)


def _installed():
    # Several components ask in one run; the file is read again only when dpkg has written it.
    stamp = os.stat(_STATUS).st_mtime_ns
    cached = __context__.get("voip_package.installed")
    if cached is None or cached[0] != stamp:
        with open(_STATUS, encoding="utf-8") as status_file:
            cached = (stamp, voip_dpkg.installed(status_file.read()))
        __context__["voip_package.installed"] = cached
    return cached[1]


def _candidates(packages):
    if not packages:
        return {}
    return voip_dpkg.candidates(_run(["apt-cache", "policy", *packages]).stdout)


def _run(argv):
    environment = os.environ | {
        "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8", "NEEDRESTART_SUSPEND": "1",
    }  # fmt: skip
    # The minion's own environment is a virtual one: apt's hooks want the system's Python.
    environment.pop("PYTHONPATH", None)
    environment.pop("PYTHONHOME", None)
    return subprocess.run(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace", env=environment, check=False,
    )  # fmt: skip


def _apt_failed(doing, output):
    return f"{doing}: {voip_dpkg.errors(output) or ' '.join(output.split()[-40:])}"


def _update(*options):
    done = _run([*_APT, "update", "-o", "APT::Update::Error-Mode=any", *options])
    if done.returncode:
        raise CommandExecutionError(
            voip_dpkg.fetch_failure(done.stdout) or _apt_failed("apt-get update", done.stdout)
        )


def _lists_are_usable():
    with contextlib.suppress(OSError):
        names = fnmatch.filter(os.listdir(_LISTS), "*_Packages*")
        # A file: repository of ours says nothing about the host's archive.
        names = [item for item in names if not item.startswith("_")]
        times = [os.stat(os.path.join(_LISTS, item)).st_mtime for item in names]
        fetched = max([*times, os.stat(os.path.join(_LISTS, "partial")).st_mtime]) if times else 0
        return bool(times) and time.time() - fetched < _LISTS_MAX_AGE_S
    return False


def _set_up_archive(name, component):
    """Write the component's apt source, where it has one of its own, and read only its index."""
    path = os.path.join(_SOURCES, f"voip-stack-{name}.list")
    source = component.get("source", "debian")
    if source in _BUILT:
        repository = _fetch_repository(name, component)
        line = f"deb [trusted=yes] file:{repository} ./\n"
    elif source == "vendor":
        vendor = component["vendor"]
        keyring = _install_key(name, vendor["key"])
        components = " ".join(vendor["components"])
        line = f"deb [signed-by={keyring}] {vendor['uri']} {vendor['suite']} {components}\n"
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        return
    voip_files.write(path, line, 0o644)
    _update(
        "-o", f"Dir::Etc::SourceList={path}",
        "-o", "Dir::Etc::SourceParts=-",
        "-o", "APT::Get::List-Cleanup=0",
    )  # fmt: skip


def _install_key(name, key):
    cached = __salt__["cp.cache_file"](f"salt://packages/files/keys/{key}")
    if not cached:
        raise CommandExecutionError(f"{name}: the master has no repository key {key}")
    extension = os.path.splitext(key)[1] or ".asc"
    path = os.path.join(_KEYRINGS, f"voip-stack-{name}{extension}")
    os.makedirs(_KEYRINGS, exist_ok=True)
    shutil.copyfile(cached, path)
    os.chmod(path, 0o644)
    return path


def _fetch_repository(name, component):
    """Bring the component's packages from the master. Returns the repository's directory."""
    origin = f"salt://{component['suite']}-{component['arch']}/{name}"
    target = os.path.join(_REPOSITORIES, name)
    os.makedirs(target, exist_ok=True)
    os.chmod(target, 0o755)  # noqa: S103 - apt reads it as its own user
    index = _cache_file(name, f"{origin}/Packages")
    with open(index, encoding="utf-8") as text:
        rows = voip_dpkg.index(text.read())
    for row in rows:
        path = os.path.join(target, os.path.basename(row["file"]))
        if _sha256(path) == row["sha256"]:
            continue
        shutil.copyfile(_cache_file(name, f"{origin}/{row['file']}"), path)
        if _sha256(path) != row["sha256"]:
            os.unlink(path)
            raise CommandExecutionError(f"{name}: {row['file']} arrived damaged from the master")
    keep = {os.path.basename(row["file"]) for row in rows} | {"Packages", "Release"}
    for extra in set(os.listdir(target)) - keep:
        os.unlink(os.path.join(target, extra))
    # The index last: a repository cut short is never one that apt believes in.
    for item in ("Packages", "Release"):
        shutil.copyfile(_cache_file(name, f"{origin}/{item}"), os.path.join(target, item))
    return target


def _cache_file(name, url):
    cached = __salt__["cp.cache_file"](url, saltenv="packages")
    if not cached:
        raise CommandExecutionError(f"{name}: the master does not serve {url} (saltenv packages)")
    return cached


def _sha256(path):
    try:
        with open(path, "rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def _services_stay_down():
    # One that is not ours (a container's) says the same already, and stays.
    ours = not os.path.exists(_POLICY)
    if not ours:
        with open(_POLICY, encoding="utf-8") as policy:
            ours = policy.read() == _POLICY_TEXT  # left behind by a run that was killed
    if ours:
        voip_files.write(_POLICY, _POLICY_TEXT, 0o755)
    try:
        yield
    finally:
        if ours:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(_POLICY)
