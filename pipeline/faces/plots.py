"""Plots as small SVG elements inside a page: no script, no style, no id; the page colours them by their classes.

pygal lays out lines, bars and axes. Of its tree only what is drawn is kept: a page's policy forbids style that it has
no hash of, and ids would clash between the plots of one page.
"""

import math
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree as ET

import pygal  # type: ignore[import-untyped]
from markupsafe import Markup
from pygal.style import Style  # type: ignore[import-untyped]

__all__ = ["Axis", "Values", "bar_plot", "line_plot", "number_axis"]

# pygal adds a finder of map plugins in a form that Python 3.11 warns about at every later import that finds nothing.
sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, pygal.PluginImportFixer)]

Values = Sequence[float | None]
_WIDTH, _HEIGHT, _FONT = 360, 190, 12
"""In the SVG's own units; a plot is about 340 CSS pixels wide on a phone and in each column of a wide page."""
_MOST_STEPS = 5
_HEADROOM = 1.05
_LEAST_STEP = 1e-9
"""Between two marks; what is closer is nothing that is measured here, and ends where floating point does."""
_INKS = ("a", "b", "c")
_KEPT = {"svg": ("viewBox",), "g": ("transform",), "path": ("d",), "text": ("x", "y"), "circle": ("cx", "cy", "r")}
_KEPT["rect"] = ("x", "y", "width", "height")
_CLASSES = {"axis": "axis", "dot": "dot", "line": "line", "no_data": "none", "rect": "bar", "x": "x", "y": "y"}


@dataclass(frozen=True, slots=True)
class Axis:
    """Where an axis is marked.

    Attributes:
        top: its end, at least `ticks[-1]`.
        ticks: values, rising, with their labels.
    """

    top: float
    ticks: tuple[tuple[float, str], ...]


def number_axis(low: float, high: float, label: Callable[[float, float], str], least_step: float = 0) -> Axis:
    """An axis with a few marks, at multiples of 1, 2 or 5 times a power of ten.

    Args:
        low: where it begins.
        high: where it ends, unless that is where it begins.
        label: from a value and the distance of two marks to text.
        least_step: distance that two marks have at least; 1 for what is counted.
    """
    high = high if high - low >= _LEAST_STEP else low + (least_step or 1)
    step = max(_round_step((high - low) / _MOST_STEPS), least_step)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    ticks = (float(f"{at * step:.12g}") for at in range(first, last + 1))
    return Axis(high, tuple((tick, label(tick, step)) for tick in ticks))


def line_plot(lines: Sequence[Values], step: float, across: Axis, up: Axis) -> Markup:
    """Up to three lines over values `0`, `step`, `2 * step`, ...; what is `None` leaves a gap."""
    chart = pygal.XY(allow_interruptions=True, xrange=(0, across.top), **_settings(across, up))
    for line in lines:
        points = [(at * step, value) for at, value in enumerate(line)]
        alone = [point for at, point in enumerate(points) if _stands_alone(line, at)]
        chart.add(None, points, show_dots=False)
        chart.add(None, alone, stroke=False, dots_size=2)
    return _slim(chart.render_tree(), series_a_line=2)


def bar_plot(edges: Sequence[float], counts: Sequence[int], across: Axis, up: Axis) -> Markup:
    """`counts[i]` as a bar from `edges[i]` to `edges[i + 1]`."""
    chart = pygal.Histogram(**_settings(across, up))
    chart.add(None, [(count, *edges[at : at + 2]) for at, count in enumerate(counts) if count])
    return _slim(chart.render_tree(), series_a_line=1)


def _settings(across: Axis, up: Axis) -> dict[str, Any]:
    return {
        "js": (),
        "css": (),
        "style": Style(label_font_size=_FONT, major_label_font_size=_FONT, no_data_font_size=_FONT),
        "width": _WIDTH,
        "height": _HEIGHT,
        "margin": 4,
        "margin_right": 14,
        "spacing": 8,
        "show_legend": False,
        "truncate_label": -1,
        "range": (0, up.top * _HEADROOM),
        "x_labels": [{"value": value, "label": label} for value, label in across.ticks],
        "y_labels": [{"value": value, "label": label} for value, label in up.ticks],
        "no_data_text": "no figures",
    }


def _stands_alone(line: Values, at: int) -> bool:
    """A value without a neighbour, which no line would show."""
    around = (line[at - 1] if at else None, line[at + 1] if at + 1 < len(line) else None)
    return line[at] is not None and around == (None, None)


def _round_step(least: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is no smaller."""
    power = 10.0 ** math.floor(math.log10(least))
    return next((digit * power for digit in (1, 2, 5) if digit * power >= least * (1 - 1e-9)), 10 * power)


def _slim(tree: Any, series_a_line: int) -> Markup:
    found = _kept(tree, series_a_line)
    if found is None:
        raise ValueError("a plot without marks, values or a text")  # the axes are always marked
    return Markup(ET.tostring(found, "unicode"))  # noqa: S704 - escaped by ElementTree


def _kept(node: Any, series_a_line: int) -> ET.Element | None:
    """What is drawn of a node and below it, in classes of `charts.css`; `None` where that is nothing."""
    classes = (node.get("class") or "").split() if isinstance(node.tag, str) else []
    if node.tag not in _KEPT or {"background", "tooltip"} & set(classes):  # comments, scripts, style, descriptions
        return None
    made = ET.Element(node.tag)
    if named := _named(classes, series_a_line):
        made.set("class", named)
    for name in _KEPT[node.tag]:
        if node.get(name):
            made.set(name, _shortened(node.get(name)))
    made.text = node.text if node.tag == "text" else None
    made.extend(child for child in (_kept(one, series_a_line) for one in node) if child is not None)
    return made if len(made) or made.tag != "g" else None


def _named(classes: list[str], series_a_line: int) -> str:
    found = [_CLASSES[name] for name in classes if name in _CLASSES]
    if "series" in classes:
        number = int(next(name for name in classes if name.startswith("serie-"))[6:])
        found.append(_INKS[number // series_a_line])
    return " ".join(found)


def _shortened(numbers: str) -> str:
    """Numbers to a tenth: less than a screen can show."""
    return re.sub(r"-?\d+\.\d+", lambda found: f"{float(found[0]):.1f}".removesuffix(".0"), numbers)
