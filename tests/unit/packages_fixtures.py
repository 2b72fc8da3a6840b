"""Real, tiny .deb files, made without dpkg."""

import io
import tarfile


def make_deb(directory, name, version, depends="", arch="amd64"):
    """Write <name>_<version>_<arch>.deb with a control file only. Returns its path."""
    control = f"Package: {name}\nVersion: {version}\nArchitecture: {arch}\n"
    control += f"Depends: {depends}\n" if depends else ""
    members = {"debian-binary": b"2.0\n", "control.tar.xz": _tar(control), "data.tar.xz": _tar()}
    archive = b"!<arch>\n"
    for member, data in members.items():
        archive += f"{member:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode()
        archive += data + b"\n" * (len(data) % 2)
    path = directory / f"{name}_{version}_{arch}.deb"
    path.write_bytes(archive)
    return path


def _tar(control=None):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz") as archive:
        if control is not None:
            entry = tarfile.TarInfo("./control")
            entry.size = len(control)
            archive.addfile(entry, io.BytesIO(control.encode()))
    return buffer.getvalue()
