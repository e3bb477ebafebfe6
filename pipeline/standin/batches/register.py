"""All batches of one server, and the thread that ends them when their time has come.

The lock guards the list and each batch's state; the work on a batch's requests is done outside it. A batch that is
being ended counts as open until all of its results are there and billed in the log.
"""

import json
import secrets
import threading
from collections.abc import Iterator
from typing import Any

from pipeline.standin.batches.batch import COUNTS, AskedWith, Batch, Reading
from pipeline.standin.batches.clock import BatchClock
from pipeline.standin.batches.outcomes import Answerer, Outcome, unfinished
from pipeline.standin.batches.spool import Spool
from pipeline.standin.lines import stamp
from pipeline.standin.log import AnswerLog
from pipeline.standin.options import StandinOptions
from pipeline.standin.problems import Problem

__all__ = ["Register"]

_LOGGED_AT_ONCE = 256


class Register:
    """The batches of one server, oldest first; for any thread.

    Args:
        options: how long batches take, and how many requests may wait.
        log: a line for each result.
        answerer: works on a request.

    Attributes:
        clock: what batches are ended and expire by; `advance` moves it.
        counts: `created`, `items`, and of the items `succeeded`, `errored`, `canceled`, `expired` and `billed`.
    """

    def __init__(self, options: StandinOptions, log: AnswerLog, answerer: Answerer) -> None:
        self.clock = BatchClock()
        self.counts = dict.fromkeys(("created", "items", *COUNTS, "billed"), 0)
        self._options = options
        self._log = log
        self._answerer = answerer
        self._batches: dict[str, Batch] = {}
        self._hold_new = options.batch_hold
        self._changed = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    def advance(self, seconds: float) -> None:
        """Moves the clock forward, and ends what is due by then.

        Raises:
            ValueError: the seconds are negative or no number.
        """
        with self._changed:
            self.clock.advance(seconds)
            self._changed.notify_all()

    def hold(self, held: bool, batch_id: str | None = None) -> None:
        """Holds or releases one batch, or all that are open and all that come.

        Raises:
            Problem: 404: no such batch.
        """
        with self._changed:
            chosen = list(self._batches.values()) if batch_id is None else [self._get(batch_id)]
            self._hold_new = held if batch_id is None else self._hold_new
            for batch in chosen:
                batch.held = held
            self._changed.notify_all()

    def reserve(self, items: Spool, asked_with: AskedWith) -> Batch:
        """A new batch that nobody sees yet.

        Raises:
            Problem: 429: too many requests wait already.
        """
        with self._changed:
            self._check_room(len(items))
            self.counts["created"] += 1
            low, high = self._options.batch_s
            number, first = self.counts["created"], self.counts["items"] + 1
            self.counts["items"] += len(items)
            return Batch(
                id=f"msgbatch_{secrets.token_hex(12)}",
                number=number,
                first_item=first,
                seed=self._options.batch_seed,
                asked_with=asked_with,
                created=self.clock(),
                takes_s=low + (high - low) * (number * 0.6180339887 % 1),  # spread evenly, the same on every server
                cancel_takes_s=self._options.batch_cancel_s,
                items=items,
                total=len(items),
                held=self._hold_new,
            )

    def add(self, batch: Batch) -> None:
        """Takes up a batch that was reserved."""
        with self._changed:
            self._batches[batch.id] = batch
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="standin-batches", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def get(self, batch_id: str) -> Batch:
        """The batch of an id.

        Raises:
            Problem: 404.
        """
        with self._changed:
            return self._get(batch_id)

    def newest_first(self) -> list[Batch]:
        """All of them."""
        with self._changed:
            return list(reversed(self._batches.values()))

    def told(self, batch: Batch, base_url: str) -> dict[str, Any]:
        """What the API says of a batch now."""
        with self._changed:
            return batch.told(self.clock(), base_url)

    def cancel(self, batch_id: str, base_url: str) -> dict[str, Any]:
        """Begins to cancel a batch, and tells of it as it is then; asking again changes nothing.

        Raises:
            Problem: 404, or 400 for one that has ended.
        """
        with self._changed:
            batch = self._get(batch_id)
            if batch.ended is not None:
                raise Problem.invalid(f"Batch {batch_id} has ended and cannot be canceled")
            batch.canceled = self.clock() if batch.canceled is None else batch.canceled
            self._changed.notify_all()
            return batch.told(self.clock(), base_url)

    def delete(self, batch_id: str) -> dict[str, Any]:
        """Deletes a batch.

        Raises:
            Problem: 404, or 400 for one that has not ended.
        """
        with self._changed:
            batch = self._get(batch_id)
            if batch.ended is None:
                raise Problem.invalid(f"Batch {batch_id} has not ended; cancel it first")
            del self._batches[batch_id]
            batch.close()
            return {"id": batch_id, "type": "message_batch_deleted"}

    def results(self, batch_id: str) -> Reading:
        """The results of a batch, in a new order.

        Raises:
            Problem: 404: no such batch, not ended yet (the service's own status for that is not known), or archived.
        """
        with self._changed:
            batch = self._get(batch_id)
            if batch.results is None:
                raise Problem.not_found(f"Batch {batch_id} has no results before it has ended")
            if batch.archived(self.clock()):
                raise Problem.not_found(f"The results of batch {batch_id} are archived")
            batch.reads += 1
            return Reading(batch.id, batch.results, batch.order(batch.reads))

    def close(self) -> None:
        """Ends the thread; what is open stays open."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        for batch in self._batches.values():
            batch.close()

    def _get(self, batch_id: str) -> Batch:
        batch = self._batches.get(batch_id)
        if batch is None:
            raise Problem.not_found(f"Batch not found: {batch_id}")
        return batch

    def _check_room(self, more: int) -> None:
        most, now = self._options.batch_queue, self.clock()
        waiting = [batch for batch in self._batches.values() if batch.ended is None]
        if most is None or sum(batch.total for batch in waiting) + more <= most:
            return
        soonest = min((batch.due - now for batch in waiting), default=60.0)
        headers = {"retry-after": str(int(min(60.0, max(1.0, soonest + 1)))), "x-should-retry": "true"}
        message = f"This batch would exceed your organization's limit of {most} requests in processing"
        raise Problem(429, message, None, headers)

    def _work(self) -> None:
        while (batch := self._next_due()) is not None:
            results, counts = Spool(), dict.fromkeys(COUNTS, 0)
            said: list[dict[str, Any]] = []
            for outcome in self._outcomes(batch):
                results.append(outcome.record)
                counts[outcome.kind] += 1
                self.counts["billed"] += outcome.said["billed"]
                said.append({"event": "batch_result", **stamp(), "batch_id": batch.id, **outcome.said})
                if len(said) >= _LOGGED_AT_ONCE:
                    self._log.write(said)
                    said.clear()
            self._log.write(said)
            results.seal()
            self._end(batch, results, counts)

    def _next_due(self) -> Batch | None:
        """Waits for a batch to be due; `None` once the server closes."""
        with self._changed:
            while not self._closed:
                waiting = [batch for batch in self._batches.values() if batch.ended is None]
                first = min(waiting, key=lambda batch: batch.due, default=None)
                wait_s = None if first is None else first.due - self.clock()
                if first is not None and wait_s is not None and wait_s <= 0:
                    return first
                self._changed.wait(None if wait_s is None else min(wait_s, threading.TIMEOUT_MAX))
            return None

    def _outcomes(self, batch: Batch) -> Iterator[Outcome]:
        with self._changed:
            finished, kind = batch.finished(), "expired" if batch.canceled is None else "canceled"
        order = batch.order()
        for at in order[:finished]:
            if self._closed:
                return
            yield self._answerer.outcome(batch, at)
        for at in order[finished:]:
            yield unfinished(json.loads(batch.items.read(at))["custom_id"], kind)

    def _end(self, batch: Batch, results: Spool, counts: dict[str, int]) -> None:
        with self._changed:
            if self._closed:
                results.close()
                return
            batch.results, batch.counts, batch.ended = results, counts, self.clock()
            for kind, count in counts.items():
                self.counts[kind] += count
            batch.items.close()
