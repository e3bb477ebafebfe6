"""The files of docs/scale do what they say, with the program as it is."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from support.jobs import Job, environment, make_job

from pipeline.standin.server import StandinServer
from pipeline.store.read import read_results
from pipeline.store.shards import Shard

SCALE = Path(__file__).parent.parent / "docs" / "scale"
START_STANDIN = Callable[..., StandinServer]


def run_script(command: list[str], **more: str) -> subprocess.CompletedProcess[str]:
    """A script whose `pipeline` is this one."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = environment(PATH=path, **more)
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)


def answered(job: Job) -> set[str]:
    """The ids of the answers."""
    return set(read_results(job.output)["item_id"].to_pylist())


def test_a_task_of_the_slurm_array_is_its_shard(tmp_path: Path, start_standin: START_STANDIN) -> None:
    """The number of the task and the size of the array say which."""
    job = make_job(tmp_path, start_standin().url, images=8)
    array = {"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_TASK_COUNT": "3"}
    done = run_script(["sh", str(SCALE / "slurm.sh"), str(job.config_path)], **array)
    assert done.returncode == 0, done.stderr
    assert answered(job) == {item_id for item_id in job.ids if Shard(2, 3).holds(item_id)}
    assert run_script(["sh", str(SCALE / "slurm.sh")], **array).returncode != 0


def test_a_pod_of_the_kubernetes_job_is_its_shard(tmp_path: Path, start_standin: START_STANDIN) -> None:
    """Indexes count from 0, shards from 1, and there are as many of them as completions."""
    text = (SCALE / "job.yaml").read_text("utf-8")
    job = make_job(tmp_path, start_standin().url, images=40)
    folded = re.search(r"- >-\n((?: {14}.*\n)+)", text)
    assert folded is not None
    command = " ".join(line.strip() for line in folded[1].splitlines())
    command = command.replace("/etc/captions/job.toml", shlex.quote(str(job.config_path)))
    done = run_script(["sh", "-c", command], JOB_COMPLETION_INDEX="4")
    assert done.returncode == 0, done.stderr
    completions, parallelism = (int(re.findall(rf"{name}: (\d+)", text)[0]) for name in ("completions", "parallelism"))
    assert answered(job) == {item_id for item_id in job.ids if Shard(5, completions).holds(item_id)}
    assert f"limits.share={1 / parallelism}" in command
