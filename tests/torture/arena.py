"""Where a trial happens: one job, a stand-in with a log of its own, the program as real processes, and the verdict.

The verdict holds the dataset against the stand-in's log and never asks the program. Its words are those of durability:

- LOST: an item without a row at the end, an answer that was recorded and paid for again, or more answers that arrived
  and are in no row of `requests` than the kills so far leave room for (an answer that is killed before its commit
  counts as in flight).
- DUP: rows of `results` beyond one per item and fingerprint, as they stand in the files.
- REBILL: billed answers beyond one per item.
"""

import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio
import pyarrow.parquet as pq
from support.jobs import CANARY, Job, environment, make_job
from support.standins import answers, billed, read_log

from pipeline.engines.job import RunOptions, run_job
from pipeline.engines.plan import plan_run
from pipeline.errors import PipelineError
from pipeline.standin.faults import parse_fault
from pipeline.standin.options import StandinOptions
from pipeline.standin.server import StandinServer
from pipeline.store.parts import is_whole, list_parts
from pipeline.store.schema import Kind

__all__ = ["PATIENCE_S", "Arena", "Ended", "Verdict", "make_arena_job", "rows_of", "table"]

PATIENCE_S = 120
"""A hang is found after so long; no trial is expected to come near it."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A process that has ended."""

    code: int
    stdout: str
    stderr: str


@dataclass(slots=True)
class Verdict:
    """What a trial came to."""

    lost: int = 0
    dup: int = 0
    rebill: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether nothing at all is wrong."""
        return not (self.lost or self.dup or self.faults)


def make_arena_job(folder: Path, images: int) -> Job:
    """Pictures and configuration for many trials, each of which has its own output and server."""
    settings = {
        "limits": {"concurrency": 16},
        "output": {"rows_per_file": 40, "flush_seconds": 0.2},
        "retry": {"drain_seconds": 5.0},
    }
    return make_job(folder, "http://127.0.0.1:1", images, settings)


class Arena:
    """One dataset under torture; a context manager.

    Args:
        job: shared by many trials.
        place: an empty folder; the output is made below it, unless `output` names another.
        faults: of the stand-in.
        latency_s: of its answers.
        keep: whether the dataset stays when the trial is over.
        options: further ones of the stand-in.
    """

    def __init__(
        self,
        job: Job,
        place: Path,
        *,
        output: Path | None = None,
        faults: Sequence[str] = (),
        latency_s: tuple[float, float] = (0.01, 0.06),
        keep: bool = False,
        **options: Any,
    ) -> None:
        place.mkdir(parents=True, exist_ok=True)
        self.job = job
        self.place = place
        self.output = output or place / "out"
        self.log = place / "answers.jsonl"
        self.told: list[str] = []
        self._keep = keep
        self._stack = ExitStack()
        self._options = StandinOptions(
            log=self.log, latency_s=latency_s, faults=tuple(parse_fault(fault) for fault in faults), **options
        )

    def __enter__(self) -> Self:
        """Starts the server."""
        self.server = self._stack.enter_context(StandinServer(self._options))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends it, and clears away what a trial that went well has left."""
        self._stack.close()
        if kind is None and not self._keep:
            shutil.rmtree(self.output, ignore_errors=True)

    def words(self, *more: str) -> list[str]:
        """The command of one run; what begins with `--` is an option of its own, the rest are settings."""
        settings = (f"api.base_url={self.server.url}", f"output.path={self.output}", *more)
        head = [sys.executable, "-m", "pipeline", "run", str(self.job.config_path), "--progress", "none"]
        return [*head, *(word for one in settings for word in ((one,) if one.startswith("--") else ("--set", one)))]

    def start(self, *more: str, before: Sequence[str] = (), env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        """A run under way; its output goes to files, so that nothing blocks on a pipe."""
        out, err = (self.place / name for name in ("stdout.txt", "stderr.txt"))
        with out.open("w") as stdout, err.open("w") as stderr:  # of several at once, what they say is mixed
            return subprocess.Popen(
                [*before, *self.words(*more)],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                text=True,
                env=env or environment(),
                start_new_session=True,
            )

    def finish(self, process: subprocess.Popen[str], timeout: float = PATIENCE_S) -> Ended:
        """Waits for a run; one that hangs is killed with its group, and its trial fails."""
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            code = -1000
        out, err = ((self.place / name).read_text(errors="replace") for name in ("stdout.txt", "stderr.txt"))
        self.told += [out, err]
        return Ended(code, out, err)

    def run(self, *more: str, before: Sequence[str] = (), env: dict[str, str] | None = None) -> Ended:
        """A whole run."""
        return self.finish(self.start(*more, before=before, env=env))

    def run_here(self, *more: str) -> tuple[int, str]:
        """A whole run in this process, for trials that need no kill: its exit code, and what it logged."""
        words = (f"api.base_url={self.server.url}", f"output.path={self.output}", *more)
        with self.listening() as said:
            try:
                plan = plan_run(self.job.config(*words), {"ANTHROPIC_API_KEY": CANARY})
                code = anyio.run(run_job, plan, RunOptions(signals=False)).exit_code
            except PipelineError as error:
                code = error.exit_code
                said.append(str(error))
        return code, "\n".join(said)

    @contextmanager
    def listening(self) -> Iterator[list[str]]:
        """What the package logs from warnings on while the block runs."""
        said: list[str] = []
        ear = logging.Handler(logging.WARNING)
        ear.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
        logger = logging.getLogger("pipeline")
        logger.addHandler(ear)
        try:
            yield said
        finally:
            logger.removeHandler(ear)

    def answered(self) -> int:
        """How many answers were billed so far, as the server's own count has it."""
        return int(self.server.service.counts["billed"])

    def wait_for(self, count: int, process: subprocess.Popen[str]) -> None:
        """Until so many answers were billed, or the process has ended."""
        self.wait_until(lambda: self.answered() >= count or process.poll() is not None)

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        """Until something is so; the bound is for a hang."""
        end = time.monotonic() + PATIENCE_S
        while not is_so():
            if time.monotonic() > end:
                raise TimeoutError("what the trial waits for did not come")
            time.sleep(0.001)

    def pause(self, seconds: float, process: subprocess.Popen[str]) -> None:
        """So long, or until the process has ended."""
        end = time.monotonic() + seconds
        self.wait_until(lambda: time.monotonic() >= end or process.poll() is not None)

    def kill_somewhere(self, chance: random.Random, process: subprocess.Popen[str], most: int) -> None:
        """Kills a run at a random moment: by the clock while it starts, or by the answers it has had."""
        if chance.random() < 0.2:
            self.wait_until(lambda: process.poll() is not None or self.output.exists())
            wait_s = chance.random() * 0.5
        else:
            self.wait_for(self.answered() + chance.randrange(1, most), process)
            wait_s = chance.random() * 0.05
        self.pause(wait_s, process)
        process.kill()

    def verdict(
        self, *, in_flight: int = 0, items: Sequence[str] | None = None, settled: bool = True, batches: bool = False
    ) -> Verdict:
        """Holds the dataset against the log.

        Args:
            in_flight: as many answers may have been under way in all kills together.
            items: which must have a row, by default all of the job's.
            settled: whether they must have one by now.
            batches: whether money is judged elsewhere, since some was asked in batches.
        """
        found = Verdict()
        results, requests = table(self.output, Kind.RESULTS), table(self.output, Kind.REQUESTS)
        rows = Counter((row["item_id"], row["fingerprint"]) for row in results)
        answered = {item for item, _ in rows}
        found.dup = sum(rows.values()) - len(rows)
        bill = billed(self.log)
        found.rebill = len(bill) - len({line["text"] for line in bill})
        known = {row["request_id"] for row in requests}
        paid = Counter(line["text"] for line in bill if line["request_id"] in known)
        found.lost = sum(count - 1 for count in paid.values())
        if settled:
            found.lost += len(set(self.job.ids if items is None else items) - answered)
        arrived = {line["request_id"] for line in read_log(self.log) if line["event"] == "delivered"}
        unrecorded = [line for line in bill if line["request_id"] in arrived - known]
        found.lost += max(0, len(unrecorded) - in_flight)
        if found.rebill > in_flight:
            found.faults.append(f"{found.rebill} answers were paid twice; {in_flight} may have been in flight")
        if not batches:
            found.faults += self._money(requests, [line for line in bill if line["request_id"] in known])
        found.faults += self._files()
        return found

    def _money(self, requests: list[dict[str, Any]], bill: list[dict[str, Any]]) -> list[str]:
        faults = []
        for name in ("input_tokens", "output_tokens", "cost_usd"):
            ours, theirs = sum(row[name] or 0 for row in requests), sum(line[name] for line in bill)
            if abs(ours - theirs) > 1e-9:
                faults.append(f"requests.{name}: {ours}, the server's log: {theirs}")
        return faults

    def _files(self) -> list[str]:
        faults = [
            f"unreadable: {part}" for kind in Kind for part in list_parts(self.output, kind) if not is_whole(part)
        ]
        faults += [f"stray: {path}" for path in self.output.rglob(".tmp-*")]
        faults += [f"a traceback was shown: {text[-1500:]}" for text in self.told if "Traceback" in text]
        secret = CANARY.encode()
        files = [path for path in self.place.rglob("*") if path.is_file()]
        faults += [f"the key stands in {path}" for path in files if secret in path.read_bytes()]
        return faults

    def lines(self) -> list[dict[str, Any]]:
        """What the server has answered, refusals included, in order."""
        return answers(self.log)

    def asked(self) -> int:
        """How many requests the server has answered, refusals included."""
        return len(answers(self.log))


def table(output: Path, kind: Kind) -> list[dict[str, Any]]:
    """The rows as they stand in the files; a part that cannot be read is told elsewhere."""
    wanted = ["item_id", "fingerprint"]
    if kind is Kind.REQUESTS:
        wanted += ["request_id", "input_tokens", "output_tokens", "cost_usd"]
    return rows_of(output, kind, *wanted)


def rows_of(output: Path, kind: Kind, *columns: str) -> list[dict[str, Any]]:
    """The same, of these columns."""
    rows: list[dict[str, Any]] = []
    for part in list_parts(output, kind):
        if is_whole(part):
            rows += pq.ParquetFile(part).read(columns=list(columns)).to_pylist()
    return rows
