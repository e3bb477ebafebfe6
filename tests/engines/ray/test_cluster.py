"""`--engine ray` on a real cluster of this machine: workers, a kill, secrets, and what is refused."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.jobs import CANARY, environment, make_job, run_pipeline
from support.ray_clusters import HAS_RAY, RayCluster, ray_cluster
from torture.arena import Arena

from pipeline.engines.opened import RunOptions
from pipeline.engines.plan import plan_run
from pipeline.engines.selection import Choice
from pipeline.errors import ConfigError

pytestmark = pytest.mark.timeout(300)
needs_ray = pytest.mark.skipif(not HAS_RAY, reason="ray is not installed (pip install 'pipeline[ray]')")


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    """One cluster for all tests of this file."""
    with ray_cluster(2) as found:
        yield found


class RayArena(Arena):
    """An arena whose runs go to a cluster."""

    def words(self, *more: str) -> list[str]:
        """The command of one run."""
        return [*super().words(*more), "--engine", "ray", "--json"]


@needs_ray
def test_a_killed_worker_costs_what_was_in_flight(tmp_path: Path, cluster: RayCluster) -> None:
    """Its task begins anew and goes on; the sums are those of the dataset, and a second run sends nothing."""
    settings = {"limits": {"concurrency": 8, "budget_usd": 5.0}, "output": {"flush_seconds": 1.0}}
    job = make_job(tmp_path / "job", "http://127.0.0.1:1", 40, settings)
    env = environment(**cluster.environ)
    with RayArena(job, tmp_path / "arena", latency_s=(0.1, 0.4), keep=True) as arena:
        process = arena.start(env=env)
        arena.wait_for(6, process)
        workers = cluster.processes("ray::shard")
        assert workers, arena.finish(process)
        cluster.kill(workers[0])
        assert cluster.knowing(CANARY) == []
        assert "gcs_server" in cluster.knowing("shard 1/2")  # what it knows is found
        ended = arena.finish(process)
        assert ended.code == 0, ended.stderr
        found = arena.verdict(in_flight=8)
        assert found.passed, found
        assert found.rebill <= 8
        summary = json.loads(ended.stdout)
        assert summary["items"] == {
            "total": 40,
            "succeeded": 40,
            "failed": 0,
            "skipped": 0,
            "reused": 0,
            "pending": 0,
        }
        sent = len(arena.lines())
        assert summary["requests"]["sent"] >= 40
        (note,) = [json.loads(path.read_bytes()) for path in (arena.output / "runs").glob(f"{summary['run_id']}.json")]
        assert note["engine"] == "ray"
        assert sum(len(runs) for runs in note["workers"].values()) == 3
        again = arena.run("limits.budget_usd=1")
        assert again.code == 0
        assert json.loads(again.stdout)["items"]["skipped"] == 40
        assert len(arena.lines()) == sent
        assert not list(arena.output.glob(f"runs/{json.loads(again.stdout)['run_id']}*"))
    holders = [path for path in cluster.folder.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]
    assert holders == []


@needs_ray
@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ((Choice(shard=(1, 2)), (), {}), "--engine ray cuts the manifest into shards itself"),
        ((Choice(), ('manifest.path="-"',), {}), 'manifest.path: found "-"'),
        ((Choice(), ('api.mode="batches"',), {}), 'api.mode: found "batches"'),
        ((Choice(), (), {"RAY_ADDRESS": "ray://127.0.0.1:1"}), "RAY_ADDRESS: found ray://"),
        ((Choice(), (), {"PIPELINE_RAY_SHARDS": "many"}), 'PIPELINE_RAY_SHARDS: found "many"'),
    ],
)
def test_what_does_not_go_with_a_cluster_is_refused_before_one_is_begun(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: tuple[Choice, tuple[str, ...], dict[str, str]],
    said: str,
) -> None:
    """With what was found and what is allowed; nothing is begun, and nothing is written."""
    from pipeline.engines.ray.cluster import run_on_ray

    choice, words, environ = asked
    job = make_job(tmp_path, "http://127.0.0.1:1", 1)
    plan = plan_run(job.config(*words), {"ANTHROPIC_API_KEY": CANARY})
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=re.escape(said)):
        run_on_ray(plan, RunOptions(choice))
    assert not job.output.exists()


@pytest.mark.skipif(HAS_RAY, reason="ray is installed")
def test_without_ray_the_extra_is_named(tmp_path: Path) -> None:
    """And nothing is sent."""
    job = make_job(tmp_path, "http://127.0.0.1:1", 1)
    ended = run_pipeline("run", job.config_path, "--engine", "ray")
    assert ended.returncode == 2
    assert "pip install 'pipeline[ray]'" in ended.stderr
