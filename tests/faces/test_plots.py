"""Plots as SVG elements inside a page."""

import importlib
import itertools
import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.faces.plots import bar_plot, line_plot, number_axis


def plain(value: float, step: float) -> str:
    """A label without anything around it."""
    return f"{value:g}"


ACROSS = number_axis(0, 9, plain)
UP = number_axis(0, 8, plain)


def drawn(plot: str, name: str, mark: str) -> list[ET.Element]:
    """Elements of a name and class inside a plot."""
    return [one for one in ET.fromstring(plot).iter(name) if one.get("class") == mark]


def paths(plot: str, ink: str) -> list[str]:
    """The lines of one ink."""
    return [path.get("d", "") for group in drawn(plot, "g", ink) for path in group.iter("path")]


def test_a_plot_can_stand_inside_any_page() -> None:
    """It has no id, style, script or link; it grows with its place."""
    lines = line_plot([[1, 2, None, 4], [0, 0, 0, 1]], 3, ACROSS, UP)
    bars = bar_plot([0, 3, 6], [2, 8], ACROSS, UP)
    for plot in (lines, bars):
        root = ET.fromstring(plot)
        assert {one.tag for one in root.iter()} <= {"svg", "g", "path", "text", "rect", "circle"}
        names = {name for one in root.iter() for name in one.keys()}  # noqa: SIM118 - an element is no dict
        assert names <= {"class", "transform", "viewBox", "d", "x", "y", "cx", "cy", "r", "width", "height"}
        assert set(root.keys()) == {"viewBox"}
        assert not re.search("http|xmlns|--", plot)
    assert line_plot([[1, 2, None, 4], [0, 0, 0, 1]], 3, ACROSS, UP) == lines


def test_missing_values_leave_gaps() -> None:
    """A line ends before one and another begins after it; a value between two is a dot."""
    plot = line_plot([[1, 2, None, 4, None, 6, 7], [None] * 7, [None, 5] * 3 + [None]], 1.5, ACROSS, UP)
    assert [path.count("L") for path in paths(plot, "a")] == [1, 1]
    assert len(drawn(plot, "circle", "dot")) == 1 + 3
    assert paths(plot, "b") == paths(plot, "c") == []
    assert "no figures" in line_plot([[None, None]], 1, ACROSS, UP)


def test_a_single_value_and_zeros_are_drawn() -> None:
    """One step is a dot; a line of zeros lies on the axis."""
    assert len(drawn(line_plot([[3]], 1, ACROSS, UP), "circle", "dot")) == 1
    (zeros,) = paths(line_plot([[0, 0]], 1, ACROSS, number_axis(0, 0, plain)), "a")
    assert zeros.count("L") == 1


def test_bars_are_as_high_as_their_counts() -> None:
    """On one base line; a bin without any has none."""
    bars = [
        (float(one.get("y", 0)), float(one.get("height", 0)))
        for one in drawn(bar_plot([0, 3, 6, 9], [2, 0, 8], ACROSS, UP), "rect", "bar")
    ]
    (low, small), (high, large) = bars
    assert large == pytest.approx(4 * small, abs=0.5)
    assert low + small == pytest.approx(high + large, abs=0.2)


def test_labels_are_text() -> None:
    """What would be markup is escaped."""
    assert "&lt;b&gt;&amp;" in bar_plot([0, 9], [8], number_axis(0, 9, "<b>&{:.0f}{:.0f}".format), UP)


@settings(max_examples=80, deadline=None)
@given(
    ends=st.tuples(st.just(0), st.floats(0, 1e7) | st.floats(1e-9, 1e-3), st.just(0))
    | st.tuples(st.integers(0, 10**7), st.integers(0, 10**7), st.just(1))
)
def test_an_axis_has_few_round_marks(ends: tuple[float, float, int]) -> None:
    """At most six, rising, inside the range, a step of 1, 2 or 5 times a power of ten apart."""
    low, span, least = ends
    axis = number_axis(low, low + span, plain, least)
    ticks = [value for value, _ in axis.ticks]
    assert len(ticks) <= 6
    assert ticks == sorted(set(ticks))
    assert all(low <= tick <= axis.top * (1 + 1e-9) for tick in ticks)
    assert axis.top > low
    for one, two in itertools.pairwise(ticks):
        assert f"{two - one:.0e}"[0] in "125"


def test_a_module_that_is_missing_is_still_only_missing() -> None:
    """The plot library leaves nothing behind that warns about other imports."""
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("a_module_that_nobody_has")
