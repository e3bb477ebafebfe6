"""The report's charts."""

from pathlib import Path

from support.attempts import attempt_at, eventful_run, write_attempts
from support.datasets import MOMENT
from support.pages import gallery_dataset

from pipeline.faces.charts import MOST_RUNS, run_charts, spread_charts


def test_a_run_has_three_charts_with_their_figures(tmp_path: Path) -> None:
    """Requests, latency and money, step by step, in words, in lines and in a table."""
    write_attempts(tmp_path, [attempt_at(0), attempt_at(0.05), attempt_at(10, 429), attempt_at(59.9, duration_ms=900)])
    (run,) = run_charts(tmp_path)
    assert run.name == f"{MOMENT:%Y-%m-%d %H:%M:%S} UTC · run-1"
    requests, latency, money = run.charts
    assert [chart.title for chart in run.charts] == ["Requests a second", "Latency", "Money spent"]
    assert requests.lines == ("answered", "rate limited (429)", "failed")
    assert requests.heads == ("time", *requests.lines)
    assert len(requests.rows) == 61
    assert (requests.rows[0], requests.rows[10], requests.rows[60]) == (
        ("0.0 s", "2", "0", "0"),
        ("10.0 s", "0", "1", "0"),
        ("1:00", "1", "0", "0"),
    )
    assert (latency.rows[0], latency.rows[1]) == (("0.0 s", "0.1 s", "0.1 s"), ("1.0 s", "–", "–"))
    assert latency.said == "at most 0.9 s at the 95th percentile"
    assert (money.rows[-1], money.said, money.lines) == (("1:00", "$1.5"), "$1.5000 in this run", ())


def test_a_run_without_an_answer_says_so(tmp_path: Path) -> None:
    """No latency is drawn, and none is made up."""
    write_attempts(tmp_path, [attempt_at(0, None), attempt_at(5, 529)])
    (run,) = run_charts(tmp_path)
    _, latency, money = run.charts
    assert latency.said == "nothing was answered"
    assert "no figures" in latency.plot
    assert money.said == "$0.0000 in this run"


def test_the_newest_runs_are_drawn(tmp_path: Path) -> None:
    """At most ten of them, newest first."""
    eventful_run(tmp_path, "run-0", 0, 119)
    for number in range(1, MOST_RUNS):
        write_attempts(tmp_path, [attempt_at(1000 * number)], f"run-{number}")
    assert [run.name.rpartition(" ")[2] for run in run_charts(tmp_path)] == [f"run-{at}" for at in range(9, -1, -1)]
    write_attempts(tmp_path, [attempt_at(90_000)], "run-10")
    assert [run.name.rpartition(" ")[2] for run in run_charts(tmp_path)] == [f"run-{at}" for at in range(10, 0, -1)]


def test_plots_stay_small(tmp_path: Path) -> None:
    """A run's lines have few points, however long it took, and weigh little in a page that is mailed."""
    eventful_run(tmp_path, "run-0", 0, 119)
    eventful_run(tmp_path, "run-1", 1000, 20_000)
    for run in run_charts(tmp_path):
        assert all(10 < len(chart.rows) <= 121 for chart in run.charts)
        assert sum(len(chart.plot) for chart in run.charts) < 20_000


def test_how_tokens_are_spread(tmp_path: Path) -> None:
    """A chart a measure that has values: a bar a bin, the bins' counts in the table, the median in words."""
    charts = spread_charts(gallery_dataset(tmp_path, items=12), "f1")
    assert [chart.title for chart in charts] == ["Output tokens a caption", "Input tokens a caption"]
    output = charts[0]
    assert output.heads == ("from (tokens)", "captions")
    assert output.rows == [(str(20 + at), "1") for at in range(7)]
    assert output.plot.count("<rect") == 7
    assert output.said == "half have at most 23 tokens"


def test_nothing_has_no_charts(tmp_path: Path) -> None:
    """Neither of runs nor of spreads."""
    assert run_charts(tmp_path) == []
    assert spread_charts(tmp_path, None) == []
