"""The report's charts: what the newest runs did over their time, and how tokens and sizes are spread.

Each is a plot with what it says in words and its figures as a table, for those who cannot see it or want to copy it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from pipeline.faces.plain import duration, money
from pipeline.faces.plots import Axis, Values, bar_plot, line_plot, number_axis
from pipeline.store.buckets import Place
from pipeline.store.series import RunSeries, Spread, run_series, spreads

__all__ = ["MOST_RUNS", "Chart", "RunCharts", "run_charts", "spread_charts"]

MOST_RUNS = 10
_SPREADS = {
    "output_tokens": ("Output tokens a caption", "tokens", "captions"),
    "input_tokens": ("Input tokens a caption", "tokens", "captions"),
    "long_edge_px": ("Longer side of the pictures", "px", "pictures"),
}
_TIMES = ((2 * 86400, 86400, "d"), (2 * 3600, 3600, "h"), (120, 60, "min"), (0, 1, "s"))
"""From how many seconds on, which unit a time axis has."""


@dataclass(frozen=True, slots=True)
class Chart:
    """One figure.

    Attributes:
        said: what it shows, in words.
        lines: their names, where there are several.
        heads: of the table's columns.
        rows: the table.
    """

    title: str
    said: str
    plot: Markup
    lines: tuple[str, ...]
    heads: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class RunCharts:
    """What one run did over its time."""

    name: str
    charts: list[Chart]


def run_charts(output: Place) -> list[RunCharts]:
    """Of the newest runs that sent something, newest first."""
    return [
        RunCharts(f"{series.started_at:%Y-%m-%d %H:%M:%S} UTC · {series.run_id}", _charts(series))
        for series in run_series(output, MOST_RUNS)
    ]


def spread_charts(output: Place, fingerprint: str | None) -> list[Chart]:
    """Of a fingerprint's answers, as far as they have values."""
    found = spreads(output, fingerprint) if fingerprint is not None else {}
    return [_spread(*_SPREADS[name], found[name]) for name in _SPREADS if name in found]


def _charts(series: RunSeries) -> list[Chart]:
    median, slow = ([value and value / 1000 for value in values] for values in (series.median_ms, series.slow_ms))
    slowest = f"at most {_short(_highest([slow]))} s at the 95th percentile"
    return [
        _over_time(
            ("Requests a second", f"at most {_short(_highest([series.answered]))} answered a second", "", ""),
            {"answered": series.answered, "rate limited (429)": series.limited, "failed": series.failed},
            series.step_s,
        ),
        _over_time(
            ("Latency", slowest if any(slow) else "nothing was answered", "", " s"),
            {"median": median, "95th percentile": slow},
            series.step_s,
        ),
        _over_time(
            ("Money spent", f"{money(series.cost_usd[-1])} in this run", "$", ""),
            {"spent": series.cost_usd},
            series.step_s,
        ),
    ]


def _over_time(words: tuple[str, str, str, str], named: dict[str, Values], step_s: float) -> Chart:
    """Lines over the time since a run's start; `words` are title, what is said, and what stands around a number."""
    title, said, before, after = words
    lines = [
        [value if value is not None and math.isfinite(value) else None for value in line] for line in named.values()
    ]
    times = [at * step_s for at in range(len(lines[0]))]
    unit_s, across = _time_axis(max(times[-1], step_s))
    up = number_axis(0, _highest(lines), lambda value, step: f"{before}{_tick(value, step)}{after}")

    def shown(value: float | None) -> str:
        return "–" if value is None else f"{before}{_short(value)}{after}"

    rows = [(duration(time), *map(shown, values)) for time, *values in zip(times, *lines, strict=True)]
    keys = tuple(named) if len(named) > 1 else ()
    return Chart(title, said, line_plot(lines, step_s / unit_s, across, up), keys, ("time", *named), rows)


def _spread(title: str, unit: str, of: str, spread: Spread) -> Chart:
    across = number_axis(spread.edges[0], spread.edges[-1], _tick, 1)
    plot = bar_plot(spread.edges, spread.counts, across, number_axis(0, max(spread.counts), _tick, 1))
    rows = [(_short(edge), f"{count:,}") for edge, count in zip(spread.edges, spread.counts, strict=False)]
    return Chart(title, f"half have at most {_short(spread.median)} {unit}", plot, (), (f"from ({unit})", of), rows)


def _time_axis(seconds: float) -> tuple[int, Axis]:
    """The seconds of its unit, and the axis in that unit."""
    unit_s, unit = next((unit_s, unit) for least, unit_s, unit in _TIMES if seconds >= least)
    return unit_s, number_axis(0, seconds / unit_s, lambda value, step: f"{_tick(value, step)} {unit}")


def _highest(lines: Sequence[Values]) -> float:
    return max((value for line in lines for value in line if value is not None), default=0)


def _short(value: float) -> str:
    """With the digits that matter: `0.0012`, `1.25`, `12.5`, `1,250`."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    digits = max(1, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{digits}f}".rstrip("0").rstrip(".")


def _tick(value: float, step: float) -> str:
    """A number beside an axis whose marks are `step` apart."""
    if step >= 1e6:
        return f"{value / 1e6:,.0f}M"
    if step >= 1e4:
        return f"{value / 1e3:,.0f}k"
    return f"{value:,.{max(0, -math.floor(math.log10(step) + 1e-9))}f}" if value else "0"
