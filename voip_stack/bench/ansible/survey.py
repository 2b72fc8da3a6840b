"""Read paths of a host as they are. Runs inside the guest: ORDER is put before it.

ORDER: {"paths": [...], "trees": [directories]}. Prints {path: {mode, owner, group, content}},
content in base64; a path that is no file is left out.
"""

import base64
import grp
import json
import os
import pwd
import stat

ORDER: dict = globals().get("ORDER", {})


def described(path):
    """Mode, owner and content of a file."""
    status = os.stat(path)
    with open(path, "rb") as stream:
        content = base64.b64encode(stream.read()).decode()
    return {
        "mode": f"{stat.S_IMODE(status.st_mode):04o}",
        "owner": pwd.getpwuid(status.st_uid).pw_name,
        "group": grp.getgrgid(status.st_gid).gr_name,
        "content": content,
    }


def main(order):
    paths = list(order["paths"])
    for tree in order["trees"]:
        paths += [os.path.join(top, name) for top, _, names in os.walk(tree) for name in names]
    print(json.dumps({path: described(path) for path in paths if os.path.isfile(path)}))


if ORDER:
    main(ORDER)
