"""A whole run on several endpoints: their keys, their weights, and one of them dead."""

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.jobs import CANARY, environment, make_job, run_pipeline
from support.standins import answers, billed

StartStandin = Callable[..., Any]


def test_a_run_uses_every_endpoint_with_its_own_key(start_standin: StartStandin, tmp_path: Path) -> None:
    """Each server sees its own key alone and its part of the items, and no item is asked twice."""
    other = CANARY.replace("canary", "second")
    servers = [start_standin(keys=frozenset({key})) for key in (CANARY, other)]
    job = make_job(tmp_path / "job", "http://127.0.0.1:9", images=24)
    tables = [
        f'{{base_url = "{servers[0].url}", weight = 2}}',
        f'{{base_url = "{servers[1].url}", api_key_env = "OTHER_KEY"}}',
    ]
    done = run_pipeline(
        *("run", job.config_path, "--json", "--set", f"api.endpoints=[{', '.join(tables)}]"),
        env=environment(OTHER_KEY=other),
    )
    assert done.returncode == 0, done.stderr
    seen = [len(billed(server.options.log)) for server in servers]
    assert sum(seen) == 24
    assert seen[0] > seen[1] > 0
    assert other not in done.stderr + done.stdout


def test_a_dead_endpoint_costs_nothing_but_its_attempts(start_standin: StartStandin, tmp_path: Path) -> None:
    """Nobody listens at one address: every item is answered by the other."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        dead = f"http://127.0.0.1:{free.getsockname()[1]}"
    server = start_standin()
    job = make_job(tmp_path / "job", "http://127.0.0.1:9", images=30)
    tables = f'[{{base_url = "{dead}"}}, {{base_url = "{server.url}"}}]'
    done = run_pipeline("run", job.config_path, "--json", "--set", f"api.endpoints={tables}")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["items"]["succeeded"] == len(billed(server.options.log)) == 30


def test_an_endpoint_that_refuses_its_key_is_left_and_named(start_standin: StartStandin, tmp_path: Path) -> None:
    """The other one goes on; the JSON line of it has the ids of the item and of the request that told."""
    servers = [start_standin(keys=frozenset({"another"})), start_standin()]
    job = make_job(tmp_path / "job", "http://127.0.0.1:9", images=12)
    tables = f'[{{base_url = "{servers[0].url}"}}, {{base_url = "{servers[1].url}"}}]'
    words = ("--json", "--log-format", "json", "--set", f"api.endpoints={tables}")
    done = run_pipeline("run", job.config_path, *words)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["items"]["succeeded"] == len(billed(servers[1].options.log)) == 12
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    said = [line for line in lines if "takes nothing more in this run" in line["message"]]
    assert said
    refused = {line["request_id"] for line in answers(servers[0].options.log)}
    assert {line["request_id"] for line in said} <= refused
    assert {line["item_id"] for line in said} <= set(job.ids)


def test_a_missing_key_of_one_endpoint_is_found_before_anything_is_sent(
    start_standin: StartStandin, tmp_path: Path
) -> None:
    """Its place in the list is named."""
    server = start_standin()
    job = make_job(tmp_path / "job", server.url, images=2)
    tables = f'[{{base_url = "{server.url}"}}, {{base_url = "{server.url}", api_key_env = "NOWHERE_KEY"}}]'
    assert "NOWHERE_KEY" not in os.environ
    done = run_pipeline("run", job.config_path, "--set", f"api.endpoints={tables}")
    assert done.returncode == 2
    assert "api.endpoints.1.api_key_env" in done.stderr
    assert billed(server.options.log) == []
