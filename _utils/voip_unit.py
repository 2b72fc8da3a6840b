"""What `systemctl show` says of a unit, and what is wrong with it."""


def facts(text, epoch_of_boot):
    """Return {active, state, skipped, enabled, stale, started} from what `systemctl show` prints.

    epoch_of_boot: seconds, what CLOCK_MONOTONIC counts from; systemd gives microseconds of it.
    active: one that is just reading its files again is. skipped: the unit's own condition kept it
    from being started, as it should.
    """
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    started = values.get("ExecMainStartTimestampMonotonic") or "0"
    return {
        "active": values.get("ActiveState") in ("active", "reloading"),
        "state": f"{values.get('ActiveState')} ({values.get('SubState')})",
        "skipped": values.get("Result") == "exec-condition",
        "enabled": values.get("UnitFileState") == "enabled",
        "stale": values.get("NeedDaemonReload") == "yes",
        "started": epoch_of_boot + int(started) / 1e6 if int(started) else 0.0,
    }


def shortcomings(known, newest, newest_reload, stamp):
    """Return {what: {"old", "new"}}: enabled, running, restarted or reloaded; {} when all is well.

    known: see `facts`. newest, newest_reload: (path, mtime) of the latest file that a start, or a
    reload, reads; None for none. stamp: when a reload was last done, epoch.
    """
    wrong = {}
    if not known["enabled"]:
        wrong["enabled"] = {"old": False, "new": True}
    if not known["active"] and known["skipped"] and not known["stale"]:
        return wrong
    if not known["active"]:
        wrong["running"] = {"old": known["state"], "new": "active (running)"}
    elif known["stale"]:
        wrong["restarted"] = {"old": "an older unit file", "new": "restarted"}
    elif newest and newest[1] > known["started"]:
        wrong["restarted"] = {"old": f"started before {newest[0]} was written", "new": "restarted"}
    elif newest_reload and newest_reload[1] > max(known["started"], stamp):
        wrong["reloaded"] = {
            "old": f"read before {newest_reload[0]} was written",
            "new": "reloaded",
        }
    return wrong


def state(text, now):
    """Return {load, active, sub, result, restarts, for_s, group} from `systemctl show` output.

    now: CLOCK_MONOTONIC, seconds. for_s: since the unit's last change of state.
    """
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    changed = int(values.get("StateChangeTimestampMonotonic") or 0) / 1e6
    return {
        "load": values.get("LoadState", ""),
        "active": values.get("ActiveState", ""),
        "sub": values.get("SubState", ""),
        "result": values.get("Result", ""),
        "restarts": int(values.get("NRestarts") or 0),
        "for_s": round(now - changed, 1) if changed else None,
        "group": values.get("ControlGroup", ""),
    }


def processes(group):
    """Return {pid: state letter of proc(5)} of a control group, {} when it is gone."""
    found = {}
    if not group:
        return found
    try:
        with open(f"/sys/fs/cgroup{group}/cgroup.procs", encoding="ascii") as file:
            pids = file.read().split()
    except OSError:
        return found
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
                # The name in parentheses may hold anything.
                found[int(pid)] = file.read().rpartition(")")[2].split()[0]
        except (OSError, IndexError):
            continue
    return found
