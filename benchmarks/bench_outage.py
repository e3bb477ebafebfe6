"""What an outage costs and how soon it is over: the program against a service that answers 529 for a while.

The stand-in serves at its limit for a while, fails every request until the outage is over, and serves again. Attempts
are the server's own account; the items that they were for are the dataset's. Wanted: at most 1.2 attempts an item that
was taken up, and full speed 30 s after the end.

Run as `python -m benchmarks.bench_outage [--seconds S] [--rate R]`; the whole outage is `--seconds 300`.
"""

import argparse
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

from pyarrow.dataset import dataset

from benchmarks.bench_pace import IMAGES, SIZES, Trial, ours
from benchmarks.serving import answers, photograph, served

BEFORE_S = 20.0
RECOVERY_S = 30.0
AFTER_S = 60.0


def main() -> None:
    """Prints what one outage cost."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=45.0, help="of the outage")
    parser.add_argument("--rate", type=int, default=600, help="requests a minute")
    chosen = parser.parse_args()
    end = BEFORE_S + chosen.seconds
    fault = f"529:after={round(chosen.rate / 60 * BEFORE_S)},during={end}"
    options = ("--latency", "0.2,3", "--requests-per-minute", str(chosen.rate), "--burst-seconds", "1")
    with (
        tempfile.TemporaryDirectory() as place,
        served(Path(place) / "server.jsonl", *options, "--fault", fault) as url,
    ):
        images = []
        for number in range(IMAGES):
            images.append(Path(place) / f"{number}.jpg")
            images[-1].write_bytes(photograph(*SIZES[number % len(SIZES)], number, 70))
        seconds = end + RECOVERY_S + AFTER_S
        trial = Trial("requests", Path(place), images, url, seconds, (0.0, seconds), chosen.rate)
        ours(trial, known=True)
        show(trial, end)


def show(trial: Trial, end_s: float) -> None:
    """Prints the figures of a trial whose outage ended so many seconds after the first request."""
    lines = answers(trial.folder / "server.jsonl")
    first = min(line["clock"] for line in lines)
    failed = [line for line in lines if line["status"] == 529]
    good = [line["clock"] - first for line in lines if line["status"] == 200]
    rows = (
        dataset(trial.folder / "ours-0" / "out" / "requests").to_table(columns=["item_id", "http_status"]).to_pylist()
    )
    items = Counter(row["item_id"] for row in rows if row["http_status"] == 529)
    full = [moment for moment in good if end_s + RECOVERY_S <= moment < end_s + RECOVERY_S + AFTER_S]
    print(f"outage of {end_s - BEFORE_S:.0f} s, {trial.per_minute} requests a minute, load {os.getloadavg()[0]:.1f}")
    print(f"{'attempts that failed':<40}{len(failed):>8}")
    print(f"{'items that they were for':<40}{len(items):>8}")
    print(f"{'attempts an item, at most 1.2':<40}{len(failed) / max(1, len(items)):>8.2f}")
    print(f"{'first answer after the end, s':<40}{min(moment for moment in good if moment >= end_s) - end_s:>8.1f}")
    print(f"{'utilisation from 30 s after the end':<40}{len(full) / (trial.per_minute * AFTER_S / 60):>8.3f}")
    print(f"{'items that failed':<40}{trial.failed:>8}")


if __name__ == "__main__":
    sys.exit(main())
