"""Inline SVG charts."""

import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.report.charts import HEIGHT, WIDTH, Interval, Series, interval_chart, line_chart, ticks


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_few_even_and_inside(low: float, width: float) -> None:
    found = ticks(low, low + width)
    assert len(found) <= 7
    slack = 1e-6 * (abs(low) + width)
    assert all(low - slack <= tick <= low + width + slack for tick in found)


def test_ticks_are_round() -> None:
    assert ticks(0.0, 1.0) == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert ticks(-3.0, 17.0) == [0.0, 5.0, 10.0, 15.0]


@pytest.mark.parametrize(
    "points",
    [
        ((1.0, 2.0),),
        ((1.0, 0.0), (2.0, 0.0)),
        tuple((float(i), math.sin(i)) for i in range(50)),
        ((1e-9, 1e9), (5.0, -1e9)),
    ],
)
def test_everything_lies_inside_the_picture(points: tuple[tuple[float, float], ...]) -> None:
    for log_x in (False, True):
        if log_x and points[0][0] <= 0.0:
            continue
        root = ElementTree.fromstring(
            str(line_chart([Series("s", points, 1)], title="t", x_label="x", log_x=log_x))
        )
        for element in root.iter():
            for name, limit in (("x1", WIDTH), ("x2", WIDTH), ("cx", WIDTH), ("y1", HEIGHT), ("cy", HEIGHT)):
                assert 0.0 <= float(element.get(name, 0.0)) <= limit
            for x, y in re.findall(r"([-\d.]+),([-\d.]+)", element.get("points", "")):
                assert 0.0 <= float(x) <= WIDTH
                assert 0.0 <= float(y) <= HEIGHT


def test_interval_that_excludes_zero_has_its_own_colour() -> None:
    rows = [
        Interval("worse", -3.0, -2.0, -1.0),
        Interval("same", -1.0, 0.0, 1.0),
        Interval("better", 1.0, 2.0, 3.0),
    ]
    svg = str(interval_chart(rows, title="t", unit="points"))
    assert [int(c) for c in re.findall(r'class="dot c(\d)"', svg)] == [2, 1, 3]
    assert "+2.00 [+1.0, +3.0]" in svg


def test_labels_are_escaped() -> None:
    svg = str(interval_chart([Interval("<b>&", 0.0, 1.0, 2.0)], title="<i>", unit="<u>"))
    assert not {"<b>", "<i>", "<u>"} & set(re.findall(r"<\w+>", svg))
    ElementTree.fromstring(svg)
