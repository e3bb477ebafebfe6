"""Shards that are killed, several at once, and cut anew into others before they come to their end."""

from torture.arena import Arena
from torture.crashes import C, finished
from torture.trials import Bench, Tally

__all__ = ["shards_killed"]


def shards_killed(bench: Bench, trials: int) -> Tally:
    """Runs of two or three shards at once, one of them killed, then with another N; the last run has no shard."""
    tally = Tally()
    for _ in range(trials):
        with Arena(bench.job(60), bench.folder(), latency_s=(0.0, 0.02)) as arena:
            kills = 2 + bench.chance.randrange(2)
            for _ in range(kills):
                of = bench.chance.randrange(2, 6)
                indexes = bench.chance.sample(range(1, of + 1), min(of, 3))
                processes = [arena.start(f"--shard={index}/{of}") for index in indexes]
                arena.kill_somewhere(bench.chance, processes[0], 10)
                for process in processes:
                    ended = arena.finish(process)
                    tally.check(ended.code in (-9, 0), f"exit code {ended.code}: {ended.stderr[-300:]}")
            finished(tally, arena, 1, kills * C)
    return tally
