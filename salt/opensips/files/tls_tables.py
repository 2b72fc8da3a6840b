"""Lay the certificate where OpenSIPS reads it again: a table in memory, with the pair's own text.

OpenSIPS takes a new certificate without a restart (MI tls_reload) only from a table, which holds
certificate and key themselves, not their files' names. So that table lies below /run, is gone with
the service, and is written before each start and each reload: `tls_tables.py SETTINGS`, JSON:

  directory    where the tables go
  group        who may read them
  certificate, private_key, ca_list    the files whose text goes in
  crl          file of revocation lists, null: none are checked by
  version      [name, number]: the table in which OpenSIPS looks for the version of another, its own
  domains      [{column: value}]: the rows, without the above
"""

import grp
import json
import os
import re
import sys
from pathlib import Path

COLUMNS = {
    "id": "int,auto", "domain": "string", "match_ip_address": "string,null",
    "match_sip_domain": "string,null", "type": "int", "method": "string,null",
    "verify_cert": "int,null", "require_cert": "int,null", "certificate": "blob,null",
    "private_key": "blob,null", "crl_check_all": "int,null", "crl_dir": "string,null",
    "ca_list": "blob,null", "ca_dir": "string,null", "cipher_list": "string,null",
    "dh_params": "blob,null", "ec_curve": "string,null",
}  # fmt: skip
LIST = re.compile(r"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", re.DOTALL)


def escaped(value):
    """Return a value as a field of OpenSIPS' db_text module, None as one that is null."""
    text = "" if value is None else str(value)
    return text.replace("\\", "\\\\").replace(":", "\\:").replace("\n", "\\n")


def table(rows):
    """Return the text of table tls_mgm."""
    head = " ".join(f"{name}({kind})" for name, kind in COLUMNS.items())
    lines = [":".join(escaped(row.get(name)) for name in COLUMNS) for row in rows]
    return "\n".join([head, *lines]) + "\n"


def lists(path):
    """Return the lists in a file, [] where it is missing. OpenSIPS reads one of each file."""
    try:
        return LIST.findall(Path(path).read_text()) if path else []
    except FileNotFoundError:
        return []


def write(path, text, gid):
    """Replace a file at once. Its time moves on by a second at least: by that it is read again."""
    try:
        former = int(path.stat().st_mtime)
    except FileNotFoundError:
        former = 0
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640), "w") as file:
        file.write(text)
    os.chown(fresh, 0, gid)
    os.chmod(fresh, 0o640)
    if int(fresh.stat().st_mtime) <= former:
        os.utime(fresh, (former + 1, former + 1))
    fresh.rename(path)


def make(directory, gid):
    directory.mkdir(mode=0o750, exist_ok=True)
    os.chown(directory, 0, gid)
    os.chmod(directory, 0o750)  # noqa: S103


def main(settings):
    directory, gid = Path(settings["directory"]), grp.getgrnam(settings["group"]).gr_gid
    found = lists(settings["crl"])
    for path in (directory, directory / "crl"):
        make(path, gid)
    for number, text in enumerate(found):
        write(directory / "crl" / f"{number}.pem", text + "\n", gid)
    for path in (directory / "crl").glob("*.pem"):
        if int(path.stem) >= len(found):
            path.unlink()
    files = ("certificate", "private_key", "ca_list")
    own = {name: Path(settings[name]).read_text() for name in files}
    # Without a ca_dir OpenSIPS would trust what is in /etc/pki/CA too.
    own |= {"ca_dir": str(directory / "crl"), "crl_dir": str(directory / "crl") if found else None}
    rows = [{"id": number} | own | row for number, row in enumerate(settings["domains"], 1)]
    name, number = settings["version"]
    write(directory / name, f"table_name(string) table_version(int)\ntls_mgm:{number}\n", gid)
    write(directory / "tls_mgm", table(rows), gid)


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
