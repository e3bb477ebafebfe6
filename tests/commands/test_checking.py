"""`pipeline estimate` as a process."""

import json
from pathlib import Path
from typing import Any

from support.jobs import make_job, run_pipeline
from support.standins import answers


def test_estimate_tells_both_modes_and_sends_nothing(tmp_path: Path, start_standin: Any) -> None:
    """The object of JSON has what scripts expect; a person sees the guide's example."""
    server = start_standin()
    job = make_job(tmp_path, server.url, images=4)
    told = json.loads(run_pipeline("estimate", job.config_path, "--json").stdout)
    assert (told["items"], told["images"]) == (4, 4)
    assert set(told["modes"]) == {"messages", "batches"}
    for mode in told["modes"].values():
        assert mode["cost_usd_low"] <= mode["cost_usd"] <= mode["cost_usd_high"]
        assert {"input_tokens", "output_tokens"} <= mode.keys()
    assert told["modes"]["batches"]["cost_usd"] < told["modes"]["messages"]["cost_usd"]
    shown = run_pipeline("estimate", job.config_path)
    assert "1092 x 1092" in shown.stdout
    assert not job.output.exists()
    assert answers(server.options.log) == []
