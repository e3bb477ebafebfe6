"""The store at scale: skipping what is done, looking at it, and what the journal costs while answers come.

Each figure stands beside a floor that was measured in the same run: reading the same manifest with pyarrow or the csv
module and nothing else, reading the same parts with pyarrow alone, a run's whole CPU. Ratios hold where absolute
figures change with the machine.

Run as `python -m benchmarks.bench_store [ITEMS]`, by default 1,000,000.
"""

import csv
import multiprocessing
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path

import anyio
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from pipeline.config import load_config
from pipeline.engines.job import RunOptions, run_job
from pipeline.engines.plan import plan_run
from pipeline.engines.selection import Choice, Part, Selection
from pipeline.engines.totals import Totals
from pipeline.manifest.producer import ManifestSettings, open_manifest
from pipeline.manifest.seen import SeenItems
from pipeline.records import Attempt, ImageRecord, Item, Outcome, Usage
from pipeline.standin.options import StandinOptions
from pipeline.standin.server import StandinServer
from pipeline.store.dataset import open_dataset
from pipeline.store.identity import DatasetSettings, RunIdentity
from pipeline.store.journal import Journal
from pipeline.store.ledger import Ledger, open_ledger
from pipeline.store.parts import folder, list_parts, write_part
from pipeline.store.read import dataset_status
from pipeline.store.schema import Kind, part_schema

ROWS_A_PART = 50_000
ANSWERS = 6000
RUN_ITEMS = 500
MARK = "f1"
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


def make_manifests(place: Path, items: int) -> None:
    """The same rows as csv and as Parquet."""
    ids = [f"item-{number:09}" for number in range(items)]
    images = [f"images/{number // 1000:05}/{number:09}.jpg" for number in range(items)]
    titles = [f"Title of picture {number}" for number in range(items)]
    pq.write_table(pa.table({"id": ids, "image": images, "title": titles}), place / "photos.parquet")
    with (place / "photos.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "image", "title"])
        rows.writerows(zip(ids, images, titles, strict=True))


def make_dataset(output: Path, items: int) -> None:
    """A finished dataset: its parts by the store's own writer, its journal by the store's own recovery."""
    schema = part_schema(Kind.RESULTS)
    for start in range(0, items, ROWS_A_PART):
        numbers = range(start, min(start + ROWS_A_PART, items))
        columns = {
            "item_id": [f"item-{number:09}" for number in numbers],
            "fingerprint": [MARK] * len(numbers),
            "caption": [f"A picture of the thing with number {number}, in daylight." for number in numbers],
            "created_at": [MOMENT] * len(numbers),
            "images": [[{"source": f"{number:09}.jpg", "sha256": f"{number:064}"}] for number in numbers],
            "warnings": [[]] * len(numbers),
        }
        filled = [pa.array(columns.get(one.name, [None] * len(numbers)), one.type) for one in schema]
        path = folder(output, Kind.RESULTS) / f"part-{start:012}.parquet"
        write_part(path, schema, [pa.Table.from_arrays(filled, schema=schema)], "zstd")
    with open_dataset(DatasetSettings(output)):
        pass


def skip(output: Path, manifest: Path) -> str:
    """What a run does before it knows that there is nothing to do."""
    totals = Totals()
    with open_dataset(DatasetSettings(output)) as journal, SeenItems(output / "_state") as seen:
        index = Journal(output / "_state" / "journal.sqlite", read_only=True)
        journal.items_with_turns(MARK)
        with open_manifest(ManifestSettings(str(manifest))) as opened:
            selection = Selection(index, MARK, Choice(), totals)
            wanted = sum(map(len, selection.batches(opened, seen, Part())))
        index.close()
    assert (wanted, totals.skipped) == (0, totals.total), "not everything was skipped"
    return f"{totals.skipped} skipped"


def read_parquet(manifest: Path) -> str:
    """The floor: the two columns as Python texts."""
    rows = 0
    for batch in pq.ParquetFile(manifest).iter_batches(columns=["id", "image"]):
        rows += len(batch["id"].to_pylist())
        batch["image"].to_pylist()
    return f"{rows} rows"


def read_csv(manifest: Path) -> str:
    """The floor: the csv module alone."""
    with manifest.open(newline="") as file:
        return f"{sum(1 for _ in csv.reader(file))} rows"


def read_parts(output: Path) -> str:
    """The floor of status: the columns that tell how items stand."""
    names = ["item_id", "fingerprint", "created_at"]
    return f"{sum(len(pq.read_table(part, columns=names)) for part in list_parts(output, Kind.RESULTS))} rows"


def status(output: Path) -> str:
    """`pipeline status`."""
    return f"{dataset_status(output).succeeded} succeeded"


def keep_answers(output: Path) -> str:
    """The journal's work for so many answers, as 16 requests in flight bring it."""

    async def one(ledger: Ledger, number: int) -> None:
        item = f"item-{number:09}"
        flight = ledger.depart(item, 1, 1, MOMENT)
        await ledger.arrive(
            flight,
            Attempt(
                item, 1, 1, MOMENT, 900.0, 200, usage=Usage(1600, 120), cost_usd=0.002, answer=b'{"text": "x"}' * 60
            ),
        )
        image = ImageRecord(f"{item}.jpg", "0" * 64, "image/jpeg", 800, 600, 90_000, "1" * 64, "image/jpeg")
        await ledger.settle(
            Outcome(Item(item, ()), (image,), caption="A picture. " * 30, replies=("A picture. " * 30,))
        )

    async def some(ledger: Ledger, start: int) -> None:
        for number in range(start, ANSWERS, 16):
            await one(ledger, number)

    async def work(journal: Journal) -> None:
        async with (
            open_ledger(journal, DatasetSettings(output), RunIdentity("run-1", MARK)) as ledger,
            anyio.create_task_group() as tasks,
        ):
            for start in range(16):
                tasks.start_soon(some, ledger, start)

    with open_dataset(DatasetSettings(output)) as journal:
        anyio.run(work, journal)
    return f"{ANSWERS} answers"


def run_whole(place: Path) -> str:
    """A run against a stand-in in another process: the CPU that an answer costs in all."""
    place.mkdir()
    noise = Image.effect_noise((1280, 960), 40).convert("RGB")
    noise.save(place / "picture.jpg", quality=85)
    with (place / "photos.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "image"])
        rows.writerows([f"item-{number}", "picture.jpg"] for number in range(RUN_ITEMS))
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=serve, args=(theirs,))
    server.start()
    (place / "job.toml").write_text(
        f"""[manifest]
path = "{place}/photos.csv"
[api]
base_url = "{ours.recv()}"
model = "claude-haiku-4-5"
max_tokens = 300
[prompt]
user = "Describe picture {{{{ id }}}}."
[output]
path = "{place}/out"
reuse = false
"""
    )
    try:
        summary = anyio.run(
            run_job,
            plan_run(load_config(place / "job.toml"), {"ANTHROPIC_API_KEY": "benchmark"}),
            RunOptions(signals=False),
        )
    finally:
        ours.send(None)
        server.join()
    assert summary.items["succeeded"] == RUN_ITEMS, summary
    return f"{RUN_ITEMS} answers"


def serve(pipe: Connection) -> None:
    """The other process: tells its address, and ends when it is told to."""
    with StandinServer(StandinOptions(latency_s=(0.05, 0.1))) as server:
        pipe.send(server.url)
        pipe.recv()


def measured(work: Callable[..., str], *arguments: object) -> tuple[float, float, float, str]:
    """Seconds, seconds of CPU and peak memory in MB of work in a process of its own, and what it says."""
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(send, work, arguments))
    process.start()
    send.close()  # so that a child that fails is an end of its pipe, and no wait for ever
    found: tuple[float, float, float, str] = receive.recv()
    process.join()
    return found


def _measure(send: object, work: Callable[..., str], arguments: tuple[object, ...]) -> None:
    began, cpu = time.perf_counter(), time.process_time()
    said = work(*arguments)
    took = time.perf_counter() - began, time.process_time() - cpu
    send.send((*took, _peak_mb(), said))  # type: ignore[attr-defined]


def _peak_mb() -> float:
    """Peak resident memory since this program was started; `ru_maxrss` would carry the parent's along."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1024


def main(items: int = 1_000_000) -> None:
    """Makes manifests and a dataset, and prints the figures."""
    place = Path(tempfile.mkdtemp(prefix="bench-store-"))
    try:
        make_manifests(place, items)
        make_dataset(place / "out", items)
        print(f"{'what':<40}{'s':>8}{'CPU s':>8}{'MB':>7}  ratio to its floor")
        for suffix, floor in (("parquet", read_parquet), ("csv", read_csv)):
            manifest = place / f"photos.{suffix}"
            least = measured(floor, manifest)
            show(f"read {suffix}, floor", least)
            show(f"skip {items} items, {suffix}", measured(skip, place / "out", manifest), least)
        least = measured(read_parts, place / "out")
        show("read parts, floor", least)
        show(f"status of {items} items", measured(status, place / "out"), least)
        whole = measured(run_whole, place / "job")
        show(f"a whole run, {RUN_ITEMS} pictures of 1.2 MP", whole)
        kept = measured(keep_answers, place / "kept")
        show(f"the ledger alone, {ANSWERS} answers", kept)
        share = (kept[1] / ANSWERS) / (whole[1] / RUN_ITEMS)
        core = kept[1] / ANSWERS * 500
        print(f"the ledger's share of a run's CPU: {share:.1%}; at 500 answers a second {core:.1%} of a core")
    finally:
        shutil.rmtree(place)


def show(
    name: str, found: tuple[float, float, float, str], floor: tuple[float, float, float, str] | None = None
) -> None:
    """A line of the table."""
    seconds, cpu, memory, _ = found
    ratio = f"{cpu / floor[1]:.1f} x CPU, {memory / floor[2]:.1f} x memory" if floor else ""
    print(f"{name:<40}{seconds:>8.2f}{cpu:>8.2f}{memory:>7.0f}  {ratio}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
