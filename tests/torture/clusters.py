"""`--engine ray` on a cluster of four workers: limits in sum, killed workers, a killed driver, signals."""

import json
import os
import random
import signal
import time
from pathlib import Path

from support.jobs import CANARY, environment
from support.ray_clusters import HAS_RAY, RayCluster, ray_cluster
from torture.arena import Arena, Ended
from torture.trials import Bench, Tally, skipped

from benchmarks.simulate_scale import Scenario, simulate

__all__ = ["cluster_drained", "cluster_killed"]

_PER_MINUTE = 900
_C = 24
_TOLERANCE = 0.05
_AS_SIMULATED = Scenario(
    workers=4,
    requests_per_minute=_PER_MINUTE,
    senders=_C // 4,
    latency_s=(0.2, 0.8),
    joins_s=2.0,
    seconds=60.0,
    warm_up_s=20.0,
)
_LIMITS = (f"limits.requests_per_minute={_PER_MINUTE}", "limits.concurrency=24")


class ClusterArena(Arena):
    """An arena whose runs go to a cluster, against a server that enforces a limit."""

    def words(self, *more: str) -> list[str]:
        """The command of one run."""
        return [*super().words(*more), "--engine", "ray", "--json"]

    def pace(self, seconds: float) -> float:
        """The part of the limit that was used in the best span of so many seconds; never more than 1 is allowed."""
        moments = sorted(line["clock"] for line in self.lines() if line["status"] == 200)
        counts = [sum(at <= other < at + seconds for other in moments) for at in moments]
        return max(counts, default=0) / (_PER_MINUTE * seconds / 60)


def cluster_killed(bench: Bench, trials: int) -> Tally:
    """2,000 images on four workers: three are killed at random moments, and then the driver; the next run goes on."""
    if why := _why_not(bench):
        return skipped(why)
    tally = Tally()
    for _ in range(trials):
        with ray_cluster(4) as cluster, ClusterArena(bench.job(2000), bench.folder(), latency_s=(0.2, 0.8)) as arena:
            env = environment(**cluster.environ)
            process = arena.start(*_LIMITS, env=env)
            arena.wait_for(60, process)
            for _ in range(3):
                arena.wait_for(arena.answered() + bench.chance.randrange(60, 160), process)
                _kill_one(cluster, bench.chance)
            steady = arena.answered()
            arena.wait_for(steady + 200, process)
            began = time.monotonic()
            arena.wait_for(arena.answered() + 450, process)
            used = (arena.answered() - steady - 200) / ((time.monotonic() - began) * _PER_MINUTE / 60)
            tally.check(used >= 0.95, f"{used:.3f} of the limit was used")
            said = simulate(_AS_SIMULATED).used
            tally.check(abs(used - said) <= _TOLERANCE, f"{used:.3f} of the limit was used, {said:.3f} as simulated")
            process.kill()
            arena.finish(process)
            tally.check(arena.pace(10.0) <= 1.05, f"{arena.pace(10.0):.3f} of the limit in 10 s")
            ended = arena.run(*_LIMITS, env=env)
            _judge(tally, arena, cluster, ended, kills=4)
    return tally


def cluster_drained(bench: Bench, trials: int) -> Tally:
    """SIGTERM or SIGINT at the driver: what is in flight is awaited, nothing is paid twice, the next run ends it."""
    if why := _why_not(bench):
        return skipped(why)
    tally = Tally()
    with ray_cluster(2) as cluster:
        for trial in range(trials):
            with ClusterArena(bench.job(300), bench.folder(), latency_s=(0.1, 0.5)) as arena:
                env, number = environment(**cluster.environ), (signal.SIGTERM, signal.SIGINT)[trial % 2]
                process = arena.start(*_LIMITS, env=env)
                arena.wait_for(bench.chance.randrange(5, 60), process)
                os.kill(process.pid, number)
                ended = arena.finish(process)
                tally.check(ended.code == 128 + number, f"exit code {ended.code}: {ended.stderr[-300:]}")
                tally.check(_items(ended).get("pending", 0) > 0, "nothing was left for the next run")
                _judge(tally, arena, cluster, arena.run(*_LIMITS, env=env), kills=0)
    return tally


def _why_not(bench: Bench) -> str:
    if not HAS_RAY:
        return "ray is not installed (pip install 'pipeline[ray]')"
    return "takes minutes; make torture runs it" if bench.brief else ""


def _kill_one(cluster: RayCluster, chance: random.Random) -> None:
    workers = cluster.processes("ray::shard")
    if workers:
        cluster.kill(chance.choice(workers))


def _judge(tally: Tally, arena: ClusterArena, cluster: RayCluster, ended: Ended, *, kills: int) -> None:
    """The dataset is whole, and the key is in no file of Ray's."""
    tally.check(ended.code == 0, f"exit code {ended.code}: {ended.stderr[-300:]}")
    told = [path for path in cluster.folder.rglob("*") if _holds(path)]
    tally.check(not told, f"the key stands in {told}")
    tally.judge(arena.verdict(in_flight=kills * _C))


def _holds(path: Path) -> bool:
    try:
        return path.is_file() and CANARY.encode() in path.read_bytes()
    except OSError:
        return False


def _items(ended: Ended) -> dict[str, int]:
    try:
        found: dict[str, int] = json.loads(ended.stdout)["items"]
    except (ValueError, KeyError):
        return {}
    return found
