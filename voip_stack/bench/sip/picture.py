"""The bench's rates and CPU as an SVG picture: bars, ours and the stock configuration's."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from voip_stack.bench.sip.figures import CALL, ONE, OURS, REGISTER, REPEAT, STOCK, Load

WIDTH, LEFT, BAR, GAP, TITLE = 760, 210, 20, 6, 34
ROOM = WIDTH - LEFT - 90
COLOURS = {OURS: "#1f6f8b", STOCK: "#b9b9b9"}
DAEMON = "kamailio"


def write(path: Path, loads: Sequence[Load]) -> None:
    """Write the picture. Raises OSError where it cannot be."""
    path.write_text(svg(panels(loads)))


def panels(loads: Sequence[Load]) -> list[tuple[str, list[tuple[str, str, float]]]]:
    """[(title, [(label, who, value)])]: medians of the rounds."""
    found = []
    for what in (REGISTER, REPEAT, CALL):
        some = [one for one in loads if one.what == what]
        kinds = list(dict.fromkeys((one.way, one.who) for one in some))
        rates = [(way, who, _median(some, way, who)) for way, who in kinds]
        spent = [(way, who, _median(some, way, who, DAEMON)) for way, who in kinds]
        found.append((f"{what} a second", rates))
        found.append((f"milliseconds of {DAEMON}'s CPU for a {ONE[what]}", spent))
    return [(title, [(f"{way}, {who}", who, value) for way, who, value in rows])
            for title, rows in found if rows]  # fmt: skip


def _median(loads: Sequence[Load], way: str, who: str, daemon: str = "") -> float:
    some = [one for one in loads if (one.way, one.who) == (way, who)]
    return statistics.median(_cpu(one, daemon) if daemon else one.rate for one in some)


def _cpu(load: Load, daemon: str) -> float:
    return sum(ms for name, ms in load.cpu_ms.items() if name.endswith(f" {daemon}"))


def svg(drawn: Sequence[tuple[str, Sequence[tuple[str, str, float]]]]) -> str:
    """An SVG text."""
    parts, y = [], 10
    for title, rows in drawn:
        parts.append(f'<text x="10" y="{y + 18}" font-weight="bold">{escape(title)}</text>')
        y += TITLE
        most = max(value for _, _, value in rows) or 1.0
        for label, who, value in rows:
            length = max(1, round(ROOM * value / most))
            number = f"{value:.0f}" if value >= 100 else f"{value:.2f}"
            parts += [
                f'<text x="{LEFT - 8}" y="{y + 15}" text-anchor="end">{escape(label)}</text>',
                f'<rect x="{LEFT}" y="{y}" width="{length}" height="{BAR}" fill="{COLOURS[who]}"/>',
                f'<text x="{LEFT + length + 6}" y="{y + 15}">{number}</text>',
            ]
            y += BAR + GAP
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + 10}" '
    style = (
        'font-family="sans-serif" font-size="13">\n<rect width="100%" height="100%" fill="#fff"/>'
    )
    return "\n".join([head + style, *parts, "</svg>", ""])
