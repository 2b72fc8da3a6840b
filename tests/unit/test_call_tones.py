"""Tone analysis: what counts as heard, as a decision table over generated recordings."""

import io
import math
import random
import wave

import pytest

from voip_stack.call import tones

A, B = 600, 1000
RATE = 8000


def tone(hz, seconds, amplitude=8000, rate=RATE, start=0.0):
    return [
        round(amplitude * math.sin(2 * math.pi * hz * (start + n / rate)))
        for n in range(round(seconds * rate))
    ]


def silence(seconds, rate=RATE):
    return [0] * round(seconds * rate)


def noise(seconds, amplitude=3000, rate=RATE):
    source = random.Random(7)
    return [source.randint(-amplitude, amplitude) for _ in range(round(seconds * rate))]


def mix(*parts):
    return [sum(values) for values in zip(*parts, strict=True)]


CASES = {
    "the tone": (tone(A, 4), None),
    "quiet before and after": (silence(1) + tone(A, 4) + silence(1), None),
    "a little noise": (mix(tone(A, 4), noise(4, 400)), None),
    "one lost packet": (tone(A, 2) + silence(0.02) + tone(A, 1.98), None),
    "silence": (silence(4), "silence"),
    "nothing at all": ([], "silence"),
    "the wrong tone": (tone(750, 4), "no tone of 600 Hz"),
    "noise only": (noise(4), "no tone of 600 Hz"),
    "the listener's own tone": (tone(B, 4), "its own tone"),
    "its own tone beneath": (mix(tone(A, 4), tone(B, 4, 1600)), "its own tone"),
    "half of the time": (tone(A, 2) + silence(2), "2.00 s of 4.00 s"),
    "a gap of 220 ms": (tone(A, 2) + silence(0.22) + tone(A, 1.78), "gap of 220 ms"),
    "too quiet": (tone(A, 4, 500), "dBFS"),
    "too loud": (tone(A, 4, 32000), "dBFS"),
    "drowned in noise": (mix(tone(A, 4, 3000), noise(4, 6000)), "no tone of 600 Hz"),
}


@pytest.mark.parametrize("name", CASES)
def test_verdict(name):
    samples, problem = CASES[name]
    heard = tones.judge(samples, RATE, tone_hz=A, expected_s=4.0, echo_hz=B)
    assert heard.ok is (problem is None), heard
    if problem:
        assert problem in heard.problem


def test_figures_of_a_clean_tone():
    heard = tones.judge(silence(0.5) + tone(A, 4), RATE, tone_hz=A, expected_s=4.0, echo_hz=B)
    assert heard.present_s == pytest.approx(4.0, abs=0.03)
    assert heard.share > 0.999
    # A sine of amplitude 8000 has 20*log10(8000/32768) - 3.01 dB.
    assert heard.level_dbfs == pytest.approx(-15.3, abs=0.1)
    assert heard.longest_gap_ms == 0
    assert heard.echo_share < 0.001


def test_an_echo_call_may_hear_its_own_tone():
    heard = tones.judge(tone(A, 4), RATE, tone_hz=A, expected_s=4.0, echo_hz=None)
    assert heard.ok
    assert heard.echo_share is None


def test_wideband_recording():
    samples = tone(B, 4, rate=16000)
    assert tones.judge(samples, 16000, tone_hz=B, expected_s=4.0, echo_hz=A).ok


@pytest.mark.parametrize("hz", [A, B])
def test_goertzel_finds_its_own_bin_only(hz):
    samples = tone(hz, 0.02)
    full = tones.goertzel_power(samples, RATE, hz)
    assert full == pytest.approx(8000**2 / 2, rel=0.01)
    for other in {A, B, 400, 1500} - {hz}:
        assert tones.goertzel_power(samples, RATE, other) < full / 1000


def test_read_wav_takes_the_first_channel():
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(2)
        sound.setsampwidth(2)
        sound.setframerate(16000)
        sound.writeframes(b"\x01\x00\x02\x00" * 5)
    assert tones.read_wav(file.getvalue()) == ([1] * 5, 16000)


@pytest.mark.parametrize("data", [b"", b"RIFF", b"\0" * 100])
def test_read_wav_refuses_what_is_none(data):
    with pytest.raises(ValueError, match="not a WAV file"):
        tones.read_wav(data)
