"""Recordings: sealed and opened, the recorder, the module, and the sound made of packets."""

import importlib.util
import io
import json
import math
import os
import struct
import sys
import wave
from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError

CHECKOUT = Path(__file__).parents[2]
sys.path[:0] = [str(CHECKOUT / name) for name in ("_utils", "_modules")]

import voip_recording as sealing  # noqa: E402
import voip_recordings as module  # noqa: E402

from voip_stack import recordings  # noqa: E402
from voip_stack.call.tones import judge  # noqa: E402
from voip_stack.problem import Problem  # noqa: E402
from voip_stack.recordings.mix import MixError, to_wav  # noqa: E402
from voip_stack.wire.speech import MU_LAW  # noqa: E402

SECRET, OTHER = "s" * 32, "t" * 32
KEY = sealing.private_key(SECRET)
PUBLIC = sealing.public_hex(KEY)


def load(path, name):
    spec = importlib.util.spec_from_file_location(name, CHECKOUT / path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


recorder = load("salt/rtpengine/files/recorder.py", "recorder")
state = load("_states/voip_recordings.py", "voip_recordings_state")


def sealed(data, about=None):
    out = io.BytesIO()
    sealing.seal(PUBLIC, io.BytesIO(data), out, about or {"id": "x"})
    return out.getvalue()


# -------------------------------------------------------------------- sealing


@pytest.mark.parametrize("size", [0, 1, sealing.CHUNK - 1, sealing.CHUNK, 2 * sealing.CHUNK + 7])
def test_what_was_sealed_is_what_is_opened(size):
    data, out = os.urandom(size), io.BytesIO()
    assert sealing.unseal(KEY, io.BytesIO(sealed(data)), out) == {"id": "x"}
    assert out.getvalue() == data


def test_the_same_twice_shares_nothing():
    head = len(sealing.MAGIC) + 4
    assert sealed(b"speech" * 50)[head + 250 :] != sealed(b"speech" * 50)[head + 250 :]


CHUNK = sealing.CHUNK + 16
BROKEN = {
    "a bit": lambda text: text[:-20] + bytes([text[-20] ^ 1]) + text[-19:],
    "cut off at a chunk's end": lambda text: text[: -(len(DATA) % sealing.CHUNK) - 16],
    "cut off within a chunk": lambda text: text[:-5],
    "something behind it": lambda text: text + b"x",
    "the header": lambda text: text.replace(b'"id": "x"', b'"id": "y"'),
    "not one": lambda text: b"RIFF" + text,
    "nothing": lambda text: b"",
}
DATA = os.urandom(2 * sealing.CHUNK + 100)


@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN)
def test_a_changed_file_is_refused(change):
    with pytest.raises(sealing.SealError):
        sealing.unseal(KEY, io.BytesIO(change(sealed(DATA))), io.BytesIO())


def test_chunks_in_another_order_are_refused():
    text = sealed(DATA)
    start = len(text) - 2 * CHUNK - 116
    swapped = text[:start] + text[start + CHUNK : start + 2 * CHUNK]
    swapped += text[start : start + CHUNK] + text[start + 2 * CHUNK :]
    assert len(swapped) == len(text)
    with pytest.raises(sealing.SealError):
        sealing.unseal(KEY, io.BytesIO(swapped), io.BytesIO())


def test_another_key_does_not_open_it():
    with pytest.raises(sealing.SealError, match="sealed for the key"):
        sealing.unseal(sealing.private_key(OTHER), io.BytesIO(sealed(b"x")), io.BytesIO())


def test_an_earlier_secret_of_the_vault_opens_what_was_sealed_for_it():
    about, data = recordings.unseal(sealed(b"packets"), "media-1", iter([OTHER, SECRET]))
    assert (about, data) == ({"id": "x"}, b"packets")
    with pytest.raises(Problem, match="no key"):
        recordings.unseal(sealed(b"packets"), "media-1", iter([OTHER]))


# -------------------------------------------------------------------- the recorder


@pytest.fixture
def settings(tmp_path):
    for name in ("spool/pcaps", "spool/metadata", "spool/tmp", "store"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "key").write_text(PUBLIC + "\n")
    return {
        "spool": str(tmp_path / "spool"),
        "store": str(tmp_path / "store"),
        "public_key": str(tmp_path / "key"),
        "relay": "media-1",
        "retention_days": 90,
        "orphan_s": 3660,
    }


def ended(settings, data, parties="\n\n1001/1002\n"):
    """What RTPEngine leaves of one call: its packets and its text file."""
    spool = Path(settings["spool"])
    clear = spool / "pcaps/a%40b-00ff.pcap"
    clear.write_bytes(data)
    text = spool / "metadata/rtpengine-meta-a%40b-00ff.txt"
    text.write_text(f"{clear}\n\nSDP mode: offer\na=crypto:1 AES inline:KEY\n{parties}")
    return clear, text


def test_an_ended_call_is_sealed_and_its_clear_copy_removed(settings, call):
    clear, text = ended(settings, call)
    recorder.finish(settings, text)
    assert not clear.exists()
    assert not text.exists()
    (kept,) = Path(settings["store"]).iterdir()
    about, data = recordings.unseal(kept.read_bytes(), "media-1", iter([SECRET]))
    assert data == call
    assert (about["number"], about["peer"], about["call_id"]) == ("1001", "1002", "a@b")
    assert kept.stat().st_mode & 0o777 == 0o600
    assert b"inline:" not in kept.read_bytes()


def test_a_call_without_a_packet_leaves_nothing(settings, call):
    clear, text = ended(settings, call[:24])
    recorder.finish(settings, text)
    assert not clear.exists()
    assert list(Path(settings["store"]).iterdir()) == []


def test_the_clear_copy_stays_when_it_cannot_be_sealed(settings, call):
    clear, text = ended(settings, call)
    Path(settings["public_key"]).unlink()
    with pytest.raises(FileNotFoundError):
        recorder.finish(settings, text)
    assert clear.exists()
    assert text.exists()


@pytest.mark.parametrize(
    ("age_s", "is_rescued"), [(10, False), (3600, False), (4000, True)], ids=str
)
def test_what_a_dead_daemon_left_is_sealed_once_nobody_writes_to_it(
    settings, call, age_s, is_rescued
):
    clear, text = ended(settings, call)
    text.unlink()
    now = clear.stat().st_mtime + age_s
    recorder.rescue(settings, now)
    assert clear.exists() is not is_rescued
    assert len(list(Path(settings["store"]).iterdir())) == is_rescued


@pytest.mark.parametrize(("days", "is_kept"), [(1, True), (89.9, True), (90.1, False)])
def test_a_recording_ends_with_its_retention(settings, days, is_kept):
    path = Path(settings["store"]) / "x.sealed"
    path.write_bytes(b"x")
    recorder.expire(settings, path.stat().st_mtime + days * 86400)
    assert path.exists() is is_kept


@pytest.mark.parametrize(
    ("last", "parties"),
    [
        ("1001/1002", ("1001", "1002")),
        ("1001/*43", ("1001", "*43")),
        ("1001/", ("unknown", "unknown")),
        ("", ("unknown", "unknown")),
        ("../../etc/passwd", ("unknown", "unknown")),
    ],
)
def test_who_called_is_the_last_line(last, parties):
    assert recorder.parse(f"/run/x.pcap\n\nv=0\n{last}\n") == ("/run/x.pcap", *parties)


# -------------------------------------------------------------------- module and state


@pytest.fixture
def host(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "STORE", str(tmp_path / "store"))
    monkeypatch.setattr(module, "AUDIT", str(tmp_path / "audit.jsonl"))
    monkeypatch.setattr(
        module, "__salt__", {"voip_vault.secret": lambda name: SECRET}, raising=False
    )
    (tmp_path / "store").mkdir()
    return tmp_path


def test_what_is_kept_is_told_with_what_is_damaged(host):
    (host / "store/b.sealed").write_bytes(sealed(b"x", {"id": "b", "number": "1001"}))
    (host / "store/a.sealed").write_bytes(b"half")
    (host / "store/c.sealed.new").write_bytes(b"not yet")
    first, second = module.kept()
    assert (first["id"], first["number"]) == ("b", "1001")
    assert second["id"] == "a"
    assert "damaged" in second


def test_who_fetches_is_noted_before_the_file_is_told(host):
    (host / "store/b.sealed").write_bytes(sealed(b"x"))
    assert module.audit() == []
    assert module.fetched("b", "root@here") == str(host / "store/b.sealed")
    (row,) = module.audit()
    assert (row["recording"], row["by"]) == ("b", "root@here")
    assert (host / "audit.jsonl").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["c", "../store/b", "", "b.sealed"])
def test_only_recordings_are_fetched(host, name):
    (host / "store/b.sealed").write_bytes(sealed(b"x"))
    with pytest.raises(CommandExecutionError, match="no recording"):
        module.fetched(name, "root@here")
    assert module.audit() == []


@pytest.mark.parametrize("is_test", [True, False])
@pytest.mark.parametrize("before", [None, sealing.public_hex(sealing.private_key(OTHER)), PUBLIC])
def test_the_key_on_disk_becomes_the_vaults(host, monkeypatch, before, is_test):
    path = host / "public.key"
    if before:
        path.write_text(before + "\n")
    salt = {f"voip_recordings.{n}": getattr(module, n) for n in ("key_difference", "write_key")}
    monkeypatch.setattr(state, "__salt__", salt, raising=False)
    monkeypatch.setattr(state, "__opts__", {"test": is_test}, raising=False)
    ret = state.keyed(str(path))
    assert ret["result"] is (True if before == PUBLIC else None if is_test else True)
    assert bool(ret["changes"]) is (before != PUBLIC)
    now = path.read_text().strip() if path.exists() else None
    assert now == (before if is_test else PUBLIC)
    assert SECRET not in json.dumps(ret)


# -------------------------------------------------------------------- the sound


def tone(hz, count):
    """So many 20 ms PCMU payloads of a tone."""
    found = []
    for start in range(0, count * 160, 160):
        wanted = [8000 * math.sin(2 * math.pi * hz * n / 8000) for n in range(start, start + 160)]
        found.append(bytes(min(range(256), key=lambda c: abs(MU_LAW[c] - w)) for w in wanted))
    return found


TONES = {600: tone(600, 25), 1000: tone(1000, 25)}


def packet(number, payload, port, at, kind=0):
    rtp = struct.pack("!BBHII", 128, kind, number, 160 * number, port) + payload
    udp = struct.pack("!HHHH", 20000, port, 8 + len(rtp), 0) + rtp
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, b"\1" * 4, b"\2" * 4)
    frame = bytes(12) + b"\x08\x00" + ip + udp
    return struct.pack("<IIII", int(at), round(at % 1 * 1e6), len(frame), len(frame)) + frame


def pcap(*packets):
    return struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + b"".join(packets)


def side(hz, port, lost=(), kind=0):
    return [
        packet(n, data, port, 100 + n * 0.02, kind)
        for n, data in enumerate(TONES[hz])
        if n not in lost
    ]


@pytest.fixture
def call():
    return pcap(*side(600, 30000), *side(1000, 30002))


def channels(data):
    with wave.open(io.BytesIO(data)) as sound:
        assert (sound.getnchannels(), sound.getframerate()) == (2, 8000)
        samples = memoryview(sound.readframes(sound.getnframes())).cast("h")
    return list(samples[::2]), list(samples[1::2])


def test_each_end_is_a_channel(call):
    for samples, hz in zip(channels(to_wav(call)), TONES, strict=True):
        assert len(samples) == 4000
        assert judge(samples, 8000, tone_hz=hz, expected_s=0.5, echo_hz=None).ok


def test_a_lost_packet_is_silence_and_shifts_nothing(call):
    left, _ = channels(to_wav(pcap(*side(600, 30000, lost={10}), *side(1000, 30002))))
    whole, _ = channels(to_wav(call))
    assert left[1600:1760] == [0] * 160
    assert left[:1600] == whole[:1600]
    assert left[1760:] == whole[1760:]


def test_order_and_repeats_do_not_matter(call):
    packets = side(600, 30000)
    mixed = [packets[0], packets[2], packets[1], packets[1], *packets[3:]]
    assert to_wav(pcap(*mixed, *side(1000, 30002))) == to_wav(call)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (pcap(), "no audio packet"),
        (b"RIFF" * 10, "no pcap"),
        (pcap(*side(600, 30000, kind=18)), "payload type 18"),
    ],
)
def test_what_makes_no_sound_is_said(data, words):
    with pytest.raises(MixError, match=words):
        to_wav(data)
