"""`--metrics-file`: a run's counters for the textfile collector of Prometheus' node exporter.

Written every minute while the run goes and once at its end, each time whole and moved in, by Prometheus' own client,
which is an extra of this package. All are gauges: a run is a process of its own, and its counters begin at 0. The time
of the last good run is carried over from the file that stood there, so that an alert on its age holds while runs fail.
"""

import logging
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread

from pipeline.engines.job import LiveRun, View
from pipeline.engines.summary import RunSummary, summarise
from pipeline.errors import ConfigError

__all__ = ["metrics_view", "together", "write_metrics"]

logger = logging.getLogger(__name__)
_EVERY_S = 60.0
_LAST_GOOD = "pipeline_last_success_timestamp_seconds"


def metrics_view(path: Path, every_s: float = _EVERY_S) -> View:
    """A view that writes the counters so often; the end of the run is for `write_metrics`.

    Raises:
        ConfigError: the client library is not installed, or the file's folder is not there.
    """
    _client()
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"--metrics-file: {path.absolute().parent}: no such folder")

    async def view(live: LiveRun) -> None:
        while True:
            seconds = time.monotonic() - live.started
            name = (live.run_id, live.plan.fingerprint)
            so_far = summarise(live.plan.config, live.totals, None, seconds, name=name)
            await to_thread.run_sync(_write, path, so_far, None)
            await anyio.sleep(every_s)

    return view


def write_metrics(path: Path, summary: RunSummary) -> None:
    """Writes what a run came to; a file that cannot be written is only logged: the run is over and paid for.

    Raises:
        ConfigError: the client library is not installed.
    """
    _write(path, summary, summary.exit_code)


def together(*views: View | None) -> View | None:
    """Several views as one."""
    wanted = [view for view in views if view is not None]

    async def view(live: LiveRun) -> None:
        async with anyio.create_task_group() as tasks:
            for one in wanted:
                tasks.start_soon(one, live)

    return view if wanted else None


def _write(path: Path, summary: RunSummary, exit_code: int | None) -> None:
    client = _client()
    registry = client.CollectorRegistry()

    def gauge(name: str, help_text: str, values: float | Mapping[str, float], label: str = "") -> None:
        metric = client.Gauge(f"pipeline_{name}", help_text, [label] if label else [], registry=registry)
        for key, value in values.items() if isinstance(values, Mapping) else [("", values)]:
            (metric.labels(key) if label else metric).set(value)

    gauge("items", "Items of the manifest, by what became of them.", summary.items, "state")
    gauge("failures", "Items that failed in this run.", summary.failures_by_type, "error_type")
    gauge("unmended_items", "Items that failed in earlier runs and have not succeeded since.", summary.unmended)
    gauge("requests", "HTTP attempts of this run.", summary.requests, "outcome")
    gauge("tokens", "Billed tokens of this run.", summary.usage, "kind")
    gauge("cost_usd", "What this run has cost, in US dollars.", summary.cost_usd)
    gauge("run_seconds", "How long the run has taken.", summary.seconds)
    gauge("images_per_second", "Images answered a second, over the whole run.", summary.images_per_second)
    gauge("last_write_timestamp_seconds", "When this file was written.", time.time())
    if exit_code is not None:
        gauge("exit_code", "The exit code of the last run.", exit_code)
    good = time.time() if exit_code == 0 else _last_good(path)
    if good is not None:
        gauge(_LAST_GOOD.removeprefix("pipeline_"), "When a run last ended with 0.", good)
    try:
        client.write_to_textfile(str(path), registry)
    except OSError as error:
        logger.warning("--metrics-file: %s: cannot be written: %s", path, error.strerror)


def _last_good(path: Path) -> float | None:
    try:
        found = re.search(rf"^{_LAST_GOOD} (\S+)$", path.read_text("utf-8", "replace"), re.MULTILINE)
        return float(found[1]) if found else None
    except (OSError, ValueError):
        return None


def _client() -> Any:
    try:
        import prometheus_client  # noqa: PLC0415 - an extra
    except ImportError:
        raise ConfigError(
            "--metrics-file: needs prometheus-client; install the extra: pip install 'pipeline[metrics]'"
        ) from None
    return prometheus_client
