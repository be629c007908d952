"""Line and interval charts as inline SVG; colours come from the page's classes, so that dark mode works."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup, escape

WIDTH, HEIGHT = 400, 230
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 34
MOST_TICKS = 5


@dataclass(frozen=True)
class Series:
    """Points (x, y), drawn as a line or as marks; `bars` are (x, low, high) intervals of the marks.

    Attributes:
        colour: 1 to 4, a class of the page.
    """

    name: str
    points: tuple[tuple[float, float], ...]
    colour: int
    kind: Literal["line", "marks"] = "line"
    bars: tuple[tuple[float, float, float], ...] = ()


@dataclass(frozen=True)
class Interval:
    """A row of an interval chart."""

    label: str
    low: float
    middle: float
    high: float


def ticks(low: float, high: float, most: int = MOST_TICKS) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) within low..high, at most `most` + 1."""
    if not high > low:
        return [low]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1.0, 2.0, 5.0, 10.0) if m * power >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def line_chart(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    log_x: bool = False,
    zero: bool = True,
    vertical: float | None = None,
) -> Markup:
    """Series over a common x; a legend is the caller's.

    Args:
        series: at least one point in all.
        title: read by screen readers.
        x_label: under the axis.
        log_x: decades; x must be positive.
        zero: let the y axis include 0.
        vertical: x of a line from top to bottom.
    """
    xs = [x for s in series for x, _ in s.points] + ([vertical] if vertical is not None else [])
    ys = [y for s in series for _, y in s.points] + [y for s in series for _, *pair in s.bars for y in pair]
    ys += [0.0] if zero else []
    low, high = _widened(min(ys), max(ys))
    left, right = _decades(xs) if log_x else _widened(min(xs), max(xs), 0.0)

    def place_x(x: float) -> float:
        a, b, value = (math.log10(left), math.log10(right), math.log10(x)) if log_x else (left, right, x)
        return LEFT + (value - a) / (b - a) * (WIDTH - LEFT - RIGHT)

    def place_y(y: float) -> float:
        return HEIGHT - BOTTOM - (y - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts: list[Markup] = []
    for y in ticks(low, high):
        parts.append(_line(LEFT, place_y(y), WIDTH - RIGHT, place_y(y), "axis" if y == 0 else "grid"))
        parts.append(_text(LEFT - 5, place_y(y) + 3.5, _number(y), "end"))
    for x in _decade_ticks(left, right) if log_x else ticks(left, right):
        parts.append(_line(place_x(x), HEIGHT - BOTTOM, place_x(x), HEIGHT - BOTTOM + 4, "axis"))
        parts.append(_text(place_x(x), HEIGHT - BOTTOM + 15, _number(x), "middle"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4, x_label, "middle"))
    if vertical is not None:
        parts.append(_line(place_x(vertical), TOP, place_x(vertical), HEIGHT - BOTTOM, "chosen"))
    for s in series:
        for x, bottom, top in s.bars:
            parts.append(_line(place_x(x), place_y(bottom), place_x(x), place_y(top), f"line c{s.colour}"))
        if s.kind == "line" and len(s.points) > 1:
            path = " ".join(f"{place_x(x):.1f},{place_y(y):.1f}" for x, y in s.points)
            parts.append(Markup('<polyline class="line c{}" points="{}"/>').format(s.colour, path))
        else:
            parts += [_dot(place_x(x), place_y(y), s.colour) for x, y in s.points]
    return _svg(parts, HEIGHT, title)


def interval_chart(rows: Sequence[Interval], *, title: str, unit: str) -> Markup:
    """Intervals below one another around a line at zero, each with its figures."""
    names, figures, step = 72, 148, 26
    low, high = _widened(min(0.0, *(r.low for r in rows)), max(0.0, *(r.high for r in rows)))
    height = step * len(rows) + 34

    def place(x: float) -> float:
        return names + (x - low) / (high - low) * (WIDTH - names - figures)

    parts = []
    for x in ticks(low, high, 4):
        parts.append(_line(place(x), 2, place(x), height - 30, "axis" if x == 0 else "grid"))
        parts.append(_text(place(x), height - 18, f"{x:+g}" if x else "0", "middle"))
    parts.append(_text((names + WIDTH - figures) / 2, height - 4, unit, "middle"))
    for index, row in enumerate(rows):
        y = step * index + step / 2
        colour = 2 if row.high < 0 else 3 if row.low > 0 else 1
        parts.append(_text(0, y + 4, row.label, "start"))
        parts.append(_line(place(row.low), y, place(row.high), y, f"line c{colour}"))
        parts.append(_dot(place(row.middle), y, colour))
        text = f"{row.middle:+.2f} [{row.low:+.1f}, {row.high:+.1f}]"
        parts.append(_text(WIDTH, y + 4, text, "end"))
    return _svg(parts, height, title)


def _svg(parts: Sequence[Markup], height: float, title: str) -> Markup:
    return Markup('<svg viewBox="0 0 {} {:g}" role="img"><title>{}</title>{}</svg>').format(
        WIDTH, height, title, Markup("").join(parts)
    )


def _line(x1: float, y1: float, x2: float, y2: float, css: str) -> Markup:
    return Markup('<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>').format(
        css, x1, y1, x2, y2
    )


def _dot(x: float, y: float, colour: int) -> Markup:
    return Markup('<circle class="dot c{}" cx="{:.1f}" cy="{:.1f}" r="3.5"/>').format(colour, x, y)


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(x, y, anchor, escape(text))


def _widened(low: float, high: float, share: float = 0.05) -> tuple[float, float]:
    if high > low:
        return low - (high - low) * share, high + (high - low) * share
    room = abs(low) * 0.1 or 1.0
    return low - room, high + room


def _decades(xs: Sequence[float]) -> tuple[float, float]:
    low, high = math.log10(min(xs)), math.log10(max(xs))
    return 10 ** (low - 0.15), 10 ** (high + 0.15)


def _decade_ticks(left: float, right: float) -> list[float]:
    first, last = math.ceil(math.log10(left) - 1e-9), math.floor(math.log10(right) + 1e-9)
    return [10.0**power for power in range(first, last + 1)] or [left]


def _number(value: float) -> str:
    return f"{value:.6g}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.0e}"
