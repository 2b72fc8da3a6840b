"""Find a tone in recorded speech-band audio, by the Goertzel algorithm on short frames.

A frame of 20 ms makes bins of 50 Hz: tones at multiples of 50 Hz fall on a bin and do not leak into
one another, so "how much of this frame's power is the tone" is exact. Pure Python: a recording of a
few seconds takes some 50 ms, less than importing a numerical library.
"""

from __future__ import annotations

import math
import wave
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from io import BytesIO

FRAME_S = 0.020
FULL_SCALE = 32768.0
SILENCE_DBFS = -100.0

# What counts as heard. A G.711 tone comes out above 0.99 of its frame's power, a G.722 one above
# 0.98; a frame that holds a codec's start-up or one concealed packet may fall below.
FRAME_SHARE = 0.70
FRAME_LEVEL_DBFS = -45.0
MIN_SHARE = 0.90
MIN_PRESENT = 0.95
# A syllable. A busy machine that runs every guest may hold one up for a tenth of a second.
MAX_GAP_S = 0.200
# What no listener can hear of a tone that stops: the jitter buffer keeps its last five packets when
# none follows, and a frame at either end holds the tone in part.
EDGE_S = 0.140
MAX_ECHO_SHARE = 0.02
LEVEL_RANGE_DBFS = (-30.0, -4.0)


@dataclass(frozen=True)
class Frame:
    """One frame: its level, and each wanted tone's share of its power (0 to 1)."""

    level_dbfs: float
    shares: tuple[float, ...]


@dataclass(frozen=True)
class ToneReport:
    """What was heard of one tone. `problem` says in words why it is not ok."""

    ok: bool
    tone_hz: int
    level_dbfs: float | None
    share: float
    present_s: float
    expected_s: float
    longest_gap_ms: int
    echo_hz: int | None
    echo_share: float | None
    problem: str | None

    def as_dict(self) -> dict:
        return asdict(self)


def read_wav(data: bytes) -> tuple[list[int], int]:
    """Samples and rate of a 16-bit PCM WAV file; the first channel when there are several.

    Raises ValueError when it is none.
    """
    try:
        with wave.open(BytesIO(data)) as sound:
            if sound.getsampwidth() != 2:
                raise ValueError(f"{8 * sound.getsampwidth()}-bit samples, 16 expected")
            channels, rate = sound.getnchannels(), sound.getframerate()
            raw = sound.readframes(sound.getnframes())
    except (wave.Error, EOFError) as err:
        raise ValueError(f"not a WAV file: {err}") from err
    samples = memoryview(raw[: len(raw) // 2 * 2]).cast("h")
    return list(samples[::channels]), rate


def goertzel_power(samples: Sequence[float], rate: int, tone_hz: float) -> float:
    """Mean power that the tone contributes to these samples (a full-scale sine: 0.5 * peak^2)."""
    count = len(samples)
    if not count:
        return 0.0
    coefficient = 2.0 * math.cos(2.0 * math.pi * tone_hz / rate)
    before, last = 0.0, 0.0
    for sample in samples:
        before, last = last, sample + coefficient * last - before
    energy = before * before + last * last - coefficient * before * last
    return 2.0 * energy / (count * count)


def frames(samples: Sequence[int], rate: int, tones_hz: Sequence[int]) -> list[Frame]:
    """Cut samples into whole frames and measure each."""
    size = int(rate * FRAME_S)
    found = []
    for start in range(0, len(samples) - size + 1, size):
        part = samples[start : start + size]
        mean = sum(part) / size
        power = sum((sample - mean) ** 2 for sample in part) / size
        if power < 1.0:
            found.append(Frame(SILENCE_DBFS, (0.0,) * len(tones_hz)))
            continue
        shares = tuple(min(1.0, goertzel_power(part, rate, tone) / power) for tone in tones_hz)
        found.append(Frame(10.0 * math.log10(power / FULL_SCALE**2), shares))
    return found


def has_tone(samples: Sequence[int], rate: int, tone_hz: int) -> bool:
    """Is the tone the main part of most of these samples? For the analysis of captured packets."""
    measured = frames(samples, rate, (tone_hz,))
    heard = [f for f in measured if f.shares[0] >= FRAME_SHARE and f.level_dbfs > FRAME_LEVEL_DBFS]
    return bool(measured) and len(heard) * 2 > len(measured)


def judge(
    samples: Sequence[int], rate: int, *, tone_hz: int, expected_s: float, echo_hz: int | None
) -> ToneReport:
    """Was `tone_hz` heard for `expected_s` seconds, without gaps and without the own tone?

    echo_hz: the tone that the listener itself played: it must not come back. None: do not look.
    """
    tones = (tone_hz,) if echo_hz is None else (tone_hz, echo_hz)
    measured = frames(samples, rate, tones)
    heard = [_is_heard(frame) for frame in measured]
    present_s = round(sum(heard) * FRAME_S, 3)
    levels = [frame.level_dbfs for frame in measured]
    power = [10 ** (level / 10) if level > SILENCE_DBFS else 0.0 for level in levels]
    if any(heard):
        first, last = heard.index(True), len(heard) - heard[::-1].index(True)
    else:
        first, last = 0, len(heard)
    total = sum(power[first:last])
    share = _weighted(measured[first:last], power[first:last], 0, total)
    echo = None if echo_hz is None else _weighted(measured, power, 1, sum(power))
    heard_power = [value for value, is_heard in zip(power, heard, strict=True) if is_heard]
    level = 10 * math.log10(sum(heard_power) / len(heard_power)) if heard_power else None
    gap_s = _longest_gap(heard[first:last]) * FRAME_S
    return _verdict(
        tone_hz=tone_hz,
        level=level,
        share=share,
        present_s=present_s,
        expected_s=expected_s,
        gap_s=gap_s,
        echo_hz=echo_hz,
        echo=echo,
        is_silent=total <= 1e-9,
    )


def _is_heard(frame: Frame) -> bool:
    return frame.level_dbfs > FRAME_LEVEL_DBFS and frame.shares[0] >= FRAME_SHARE


def _weighted(measured: Sequence[Frame], power: Sequence[float], tone: int, total: float) -> float:
    if total <= 0:
        return 0.0
    part = sum(frame.shares[tone] * p for frame, p in zip(measured, power, strict=True))
    return round(part / total, 4)


def _longest_gap(heard: Sequence[bool]) -> int:
    longest = current = 0
    for is_heard in heard:
        current = 0 if is_heard else current + 1
        longest = max(longest, current)
    return longest


def _verdict(
    *,
    tone_hz: int,
    level: float | None,
    share: float,
    present_s: float,
    expected_s: float,
    gap_s: float,
    echo_hz: int | None,
    echo: float | None,
    is_silent: bool,
) -> ToneReport:
    problem = None
    low, high = LEVEL_RANGE_DBFS
    if echo is not None and echo > MAX_ECHO_SHARE:
        problem = f"the listener hears its own tone of {echo_hz} Hz ({echo:.0%} of the power)"
    elif is_silent:
        problem = "nothing was heard: silence"
    elif level is None:
        problem = f"sound, but no tone of {tone_hz} Hz in it (share {share:.0%})"
    elif present_s < MIN_PRESENT * (expected_s - EDGE_S):
        problem = f"the tone was there for {present_s:.2f} s of {expected_s:.2f} s"
    elif gap_s > MAX_GAP_S:
        problem = f"the tone has a gap of {gap_s * 1000:.0f} ms"
    elif share < MIN_SHARE:
        problem = f"the tone is only {share:.0%} of the power"
    elif not low <= level <= high:
        problem = f"level {level:.1f} dBFS, {low:.0f} to {high:.0f} expected"
    return ToneReport(
        ok=problem is None,
        tone_hz=tone_hz,
        level_dbfs=None if level is None else round(level, 1),
        share=share,
        present_s=present_s,
        expected_s=round(expected_s, 3),
        longest_gap_ms=round(gap_s * 1000),
        echo_hz=echo_hz,
        echo_share=echo,
        problem=problem,
    )
