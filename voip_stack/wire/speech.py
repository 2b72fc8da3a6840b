"""Decode the payloads of G.711 and G.722 far enough to hear whether a tone is in them.

G.711 (ITU-T G.711) by table; of G.722 (ITU-T G.722, mode 1) the lower sub-band only: it holds
0 to 4 kHz at 8000 samples a second, which is where every test tone is.
"""

from __future__ import annotations

from collections.abc import Callable

RATE = 8000


def _mu_law(code: int) -> int:
    code = ~code & 0xFF
    magnitude = (((code & 0x0F) << 3) + 0x84) << ((code & 0x70) >> 4)
    return 0x84 - magnitude if code & 0x80 else magnitude - 0x84


def _a_law(code: int) -> int:
    code ^= 0x55
    segment, magnitude = (code & 0x70) >> 4, (code & 0x0F) << 4
    magnitude += 8 if segment == 0 else 0x108
    if segment > 1:
        magnitude <<= segment - 1
    return magnitude if code & 0x80 else -magnitude


MU_LAW = [_mu_law(code) for code in range(256)]
A_LAW = [_a_law(code) for code in range(256)]


def decode_pcmu(payload: bytes) -> list[int]:
    return [MU_LAW[code] for code in payload]


def decode_pcma(payload: bytes) -> list[int]:
    return [A_LAW[code] for code in payload]


# Tables 14 to 21 of ITU-T G.722.
_W_LOW = (-60, -30, 58, 172, 334, 538, 1198, 3042)
_INDEX = (0, 7, 6, 5, 4, 3, 2, 1, 7, 6, 5, 4, 3, 2, 1, 0)
_LOG = (
    2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834,
    2896, 2960, 3025, 3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
)  # fmt: skip
_Q4 = (
    0, -20456, -12896, -8968, -6288, -4240, -2584, -1200,
    20456, 12896, 8968, 6288, 4240, 2584, 1200, 0,
)  # fmt: skip
_Q6 = (
    -136, -136, -136, -136, -24808, -21904, -19008, -16704,
    -14984, -13512, -12280, -11192, -10232, -9360, -8576, -7856,
    -7192, -6576, -6000, -5456, -4944, -4464, -4008, -3576,
    -3168, -2776, -2400, -2032, -1688, -1360, -1040, -728,
    24808, 21904, 19008, 16704, 14984, 13512, 12280, 11192,
    10232, 9360, 8576, 7856, 7192, 6576, 6000, 5456,
    4944, 4464, 4008, 3576, 3168, 2776, 2400, 2032,
    1688, 1360, 1040, 728, 432, 136, -432, -136,
)  # fmt: skip


def _limit(value: int, bound: int = 32767) -> int:
    return -bound - 1 if value < -bound - 1 else min(value, bound)


class LowBand:
    """The decoder of the lower sub-band, with its two predictors; names follow G.722."""

    def __init__(self) -> None:
        self.estimate = self.zeros = 0
        self.scale_log, self.scale = 0, 32
        self.poles = [0, 0]
        self.weights = [0] * 6
        self.differences = [0] * 6
        self.partials = [0, 0]
        self.outputs = [0, 0]

    def decode(self, code: int) -> int:
        low = code & 0x3F
        out = self.estimate + ((self.scale * _Q6[low]) >> 15)
        out = max(-16384, min(16383, out))
        difference = (self.scale * _Q4[low >> 2]) >> 15
        log = ((self.scale_log * 127) >> 7) + _W_LOW[_INDEX[low >> 2]]
        self.scale_log = max(0, min(18432, log))
        shift = 8 - (self.scale_log >> 11)
        base = _LOG[(self.scale_log >> 6) & 31]
        self.scale = (base >> shift if shift >= 0 else base << -shift) << 2
        self._adapt(difference)
        return out << 1

    def _adapt(self, difference: int) -> None:
        output = _limit(self.estimate + difference)
        partial = _limit(self.zeros + difference)
        signs = [value < 0 for value in (partial, *self.partials)]
        second = _limit(self.poles[0] << 2)
        second = min(-second if signs[0] == signs[1] else second, 32767) >> 7
        second += 128 if signs[0] == signs[2] else -128
        second += (self.poles[1] * 32512) >> 15
        second = max(-12288, min(12288, second))
        first = (192 if signs[0] == signs[1] else -192) + ((self.poles[0] * 32640) >> 15)
        bound = _limit(15360 - second)
        first = max(-bound, min(bound, _limit(first)))
        step, is_negative = (128 if difference else 0), difference < 0
        self.weights = [
            _limit((step if (old < 0) == is_negative else -step) + ((weight * 32640) >> 15))
            for old, weight in zip(self.differences, self.weights, strict=True)
        ]
        self.differences = [difference, *self.differences[:5]]
        self.partials = [partial, self.partials[0]]
        self.outputs = [output, self.outputs[0]]
        self.poles = [first, second]
        pole_part = _limit(
            ((first * _limit(self.outputs[0] * 2)) >> 15)
            + ((second * _limit(self.outputs[1] * 2)) >> 15)
        )
        self.zeros = _limit(
            sum(
                (weight * _limit(old * 2)) >> 15
                for weight, old in zip(self.weights, self.differences, strict=True)
            )
        )
        self.estimate = _limit(pole_part + self.zeros)


def decode_g722(payload: bytes) -> list[int]:
    """The lower sub-band of a G.722 stream from its beginning, or from anywhere: it adapts."""
    band = LowBand()
    return [band.decode(code) for code in payload]


DECODERS: dict[str, Callable[[bytes], list[int]]] = {
    "PCMU": decode_pcmu,
    "PCMA": decode_pcma,
    "G722": decode_g722,
}
