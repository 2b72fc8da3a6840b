"""Memory of a process and all its children, watched until standard input ends.

A program, for this machine or a guest (`python3 - PID`, standard library only). Prints one JSON
object: {"before", "peak", "after"} in MiB, as PSS: a page that several processes share counts once.
"""

import glob
import json
import select
import sys

# It must not cost what is measured at the same time.
EVERY_S = 0.5


def family(root):
    """Process ids of `root` and everything below it."""
    found, queue = [], [root]
    while queue:
        pid = queue.pop()
        found.append(pid)
        for path in glob.glob(f"/proc/{pid}/task/*/children"):
            try:
                with open(path) as file:
                    queue += map(int, file.read().split())
            except OSError:
                continue  # ended meanwhile
    return found


def pss_mib(root):
    total = 0
    for pid in family(root):
        try:
            with open(f"/proc/{pid}/smaps_rollup") as file:
                total += next(int(line.split()[1]) for line in file if line.startswith("Pss:"))
        except (OSError, StopIteration):
            continue  # ended meanwhile
    return total / 1024


def watch(root, ends):
    before = peak = pss_mib(root)
    while not ends(EVERY_S):
        peak = max(peak, pss_mib(root))
    return {"before": before, "peak": peak, "after": pss_mib(root)}


if __name__ == "__main__":
    found = watch(
        int(sys.argv[1]), lambda seconds: bool(select.select([sys.stdin], [], [], seconds)[0])
    )
    print(json.dumps(found))
