"""Seal what RTPEngine recorded, remove the clear copy, end what is kept too long.

RTPEngine writes one pcap file a call into a directory in memory, and a text file beside it when the
call has ended: that is what this process waits for. It has the public key only. Runs as RTPEngine's
user: `recorder.py SETTINGS`, a JSON file:

  spool           RTPEngine's recording-dir, in memory
  store           where sealed recordings are kept
  public_key      a file with the public key, hexadecimal
  relay           this host's name
  retention_days  how long they are kept
  orphan_s        a clear file that nobody has written to for so long, and that has no text file,
                  belongs to a daemon that is gone: it is sealed too
"""

import contextlib
import json
import os
import re
import secrets
import struct
import sys
import time
from pathlib import Path
from urllib.parse import unquote

sys.path.insert(0, str(Path(__file__).parent))

import voip_recording

POLL_S = 0.5
SWEEP_S = 3600
PCAP_HEAD = 24
NAME = re.compile(r"^rtpengine-meta-(?P<call>.+)-(?P<random>[0-9a-f]+)$")
PARTIES = re.compile(r"^(?P<number>[0-9*#+]{1,32})/(?P<peer>\S{1,64})$")


def parse(text):
    """Return (path of the pcap file, number, peer) of RTPEngine's text file.

    The first line names the file; the last one is the metadata that the proxy gave. Between them
    are SDP bodies, which hold the call's keys: they are not looked at and not kept.
    """
    lines = text.splitlines()
    path = lines[0].strip() if lines else ""
    parties = next((found for line in lines[::-1] if (found := PARTIES.match(line.strip()))), None)
    if parties is None:
        return path, "unknown", "unknown"
    return path, parties["number"], parties["peer"]


def started(path):
    """Return the Unix time of a pcap file's first packet, None when it holds none."""
    with open(path, "rb") as file:
        head = file.read(PCAP_HEAD + 8)
    if len(head) < PCAP_HEAD + 8:
        return None
    order = "<" if head[:4] == b"\xd4\xc3\xb2\xa1" else ">"
    seconds, micro = struct.unpack(f"{order}II", head[PCAP_HEAD:])
    return seconds + micro / 1e6


def keep(settings, pcap, call_id, number, peer):
    """Seal one clear file into the store; returns the recording's id, None when it is empty."""
    begun = started(pcap)
    if begun is None:
        return None
    when = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(begun))
    name = f"{when}-{number.strip('*#+')}-{secrets.token_hex(4)}"
    ended = os.stat(pcap).st_mtime
    about = {
        "id": name,
        "call_id": call_id,
        "number": number,
        "peer": peer,
        "relay": settings["relay"],
        "started": round(begun, 3),
        "seconds": round(max(0.0, ended - begun), 1),
    }
    public = Path(settings["public_key"]).read_text().strip()
    store = Path(settings["store"])
    voip_recording.seal_file(public, pcap, str(store / f"{name}.sealed"), about)
    return name


def finish(settings, text_file):
    """Seal the call of one text file of RTPEngine, and remove it with the clear copy."""
    pcap, number, peer = parse(text_file.read_text("utf-8", "replace"))
    matched = NAME.match(text_file.stem)
    clear = Path(settings["spool"]) / "pcaps" / Path(pcap).name
    if pcap and clear.is_file():
        call_id = unquote(matched["call"]) if matched else ""
        report(keep(settings, clear, call_id, number, peer))
        clear.unlink()
    text_file.unlink()


def rescue(settings, now):
    """Seal the clear files that a daemon left behind when it ended."""
    spool = Path(settings["spool"])
    for clear in spool.glob("pcaps/*.pcap"):
        if now - clear.stat().st_mtime > settings["orphan_s"]:
            report(keep(settings, clear, clear.stem.rpartition("-")[0], "unknown", "unknown"))
            clear.unlink()
    for left in spool.glob("tmp/*"):
        if now - left.stat().st_mtime > settings["orphan_s"]:
            left.unlink()


def expire(settings, now):
    """Remove what was kept for long enough, and halves of sealed files."""
    for path in Path(settings["store"]).iterdir():
        age_s = now - path.stat().st_mtime
        if path.suffix == ".sealed" and age_s > settings["retention_days"] * 86400:
            path.unlink()
            print(f"{path.stem}: removed after {settings['retention_days']} days", flush=True)
        elif path.suffix == ".new" and age_s > SWEEP_S:
            path.unlink()


def report(name):
    if name:
        print(f"{name}: sealed", flush=True)


def run(settings):
    swept = -float(SWEEP_S)
    while True:
        for text_file in sorted(Path(settings["spool"]).glob("metadata/*.txt")):
            with contextlib.suppress(FileNotFoundError):
                finish(settings, text_file)
        if time.monotonic() - swept >= SWEEP_S:
            swept = time.monotonic()
            rescue(settings, time.time())
            expire(settings, time.time())
        time.sleep(POLL_S)


if __name__ == "__main__":
    os.umask(0o077)
    run(json.loads(Path(sys.argv[1]).read_text()))
