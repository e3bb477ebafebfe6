"""What a batch of the largest size takes: memory at its peak and time, by how its images travel.

A run packs and submits against a stand-in in another process; of the run's own process the high-water mark of its
memory is read. Bytes fill a batch of inlined photographs, items one of URLs.
"""

import re
import tempfile
import time
from pathlib import Path
from subprocess import DEVNULL, Popen
from sys import executable

from benchmarks.serving import environment, photograph, served

PHOTOGRAPHS, LINKS = 1_300, 100_000
"""The first fill a batch of 256 MB and begin another."""


def main() -> None:
    """Measures both, and prints a line for each."""
    print(f"{'images':<12}{'items':>9}{'batches':>9}{'largest MB':>12}{'peak MB':>9}{'s':>7}")
    with tempfile.TemporaryDirectory() as folder:
        for name, items in (("base64", PHOTOGRAPHS), ("url", LINKS)):
            place = Path(folder) / name
            place.mkdir()
            said = _measured(place, name, items)
            print(f"{name:<12}{items:>9,}{said[0]:>9}{said[1]:>12.0f}{said[2]:>9.0f}{said[3]:>7.1f}", flush=True)


def _measured(folder: Path, name: str, items: int) -> tuple[int, float, float, float]:
    """Batches, the largest body in MB, the peak of memory in MB, and seconds."""
    log = folder / "log.jsonl"
    with served(log, "--batch-hold") as url:
        config = _config(folder, url, name, items)
        command = [executable, "-m", "pipeline", "run", str(config), "--no-wait", "--progress", "none"]
        began, peak = time.monotonic(), 0.0
        with Popen(command, env=environment(), stdout=DEVNULL, stderr=DEVNULL) as run:
            while run.poll() is None:
                peak = max(peak, _peak_mb(run.pid))
                time.sleep(0.05)
        took = time.monotonic() - began
    bodies = [int(size) for size in re.findall(r'"event": "batch_created".*"bytes": (\d+)', log.read_text())]
    return len(bodies), max(bodies, default=0) / 1e6, peak, took


def _config(folder: Path, url: str, name: str, items: int) -> Path:
    """A job of so many items: one photograph of some 150 KB, or links to pictures."""
    if name == "base64":
        (folder / "one.jpg").write_bytes(photograph(1568, 1176, 1, quality=93))
        rows = [f"{number},one.jpg\n" for number in range(items)]
    else:
        rows = [f"{number},https://pictures.example/{number}.jpg\n" for number in range(items)]
    (folder / "rows.csv").write_text("id,image\n" + "".join(rows))
    config = folder / "job.toml"
    config.write_text(
        f'[manifest]\npath = "{folder}/rows.csv"\n[api]\nbase_url = "{url}"\nmodel = "claude-haiku-4-5"\n'
        f'max_tokens = 200\nmode = "batches"\n[prompt]\nuser = "Describe it."\n[images]\ntransport = "{name}"\n'
        f'[output]\npath = "{folder}/out"\nreuse = false\n'
    )
    return config


def _peak_mb(process: int) -> float:
    """The high-water mark of a process's memory, 0 once it is gone."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    except OSError:
        return 0.0
    return int(found[1]) / 1000 if found else 0.0


if __name__ == "__main__":
    main()
