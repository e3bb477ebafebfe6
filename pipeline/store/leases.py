"""Who may write an output in an object store: a lease, which is an object that one writer keeps renewing.

`flock` ends at the machine. Between machines an object under `_state/` of the output says who writes: `lock.json` for
the whole output, `shards/I-of-N/lock.json` for a shard. Each change of it is a conditional write (`If-None-Match`,
`If-Match`), so that of two machines one gets it. The holder renews it every `LEASE_S / 3`; who finds one that was not
renewed for `LEASE_S` takes it over. Both times are the store's own, so no machine's clock counts. A machine that finds
its own lease, left by a run that was killed, takes it at once: the local lock has shown that the run is dead.

Whoever wants the output while another's lease is alive is refused (75). A shard puts its lease first and then looks
for those it may not go with, a run without a shard likewise: of two that start in the same moment both may be refused,
never both go on.

**Fencing.** Before each part is put its name is written into the lease, by a conditional write: a holder that has lost
its lease, because it was stopped or cut off, notices before it puts anything, and its run ends. What it had received
stays in its journal. When that machine starts again, rows whose items were answered elsewhere meanwhile are let go,
since the part is the truth for them; its requests are published all the same, for they were paid. A part whose upload
was under way when the lease was lost may still appear, and then holds rows that stand twice: the next start that has
the output alone removes them (see `recovery`).

**What a lost machine costs.** Its journal, which is local: answers that were received and not yet in a part, at most
those of the last `output.flush_seconds` and of one upload, and what was in flight. Another machine asks them again.

**Eventual listing.** A part that was put a moment ago may be missing from a listing. So the lease names the newest
parts (`_RECENT` of them), and a start asks for each of these by its name; parts that this machine's journal knows are
asked for by name likewise before they count as gone.

A store without conditional writes is told by two writes of a new object: then two machines that start within the same
second may not notice each other, which is said in a warning, and put right as above.
"""

import errno
import json
import logging
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from pipeline.errors import OutputHeldError
from pipeline.store.buckets import Bucket, BucketPath, ConflictError
from pipeline.store.object_file import ObjectStat
from pipeline.store.parts import made_folder, write_whole
from pipeline.store.shards import Shard

__all__ = ["LEASE_S", "Lease", "recent_parts"]

logger = logging.getLogger(__name__)

LEASE_S = 60.0
_RECENT = 300
_NAME = "lock.json"
_TRIES = 3
_GRAIN_S = 1.0
"""To what a store tells when an object was put."""
_LAST_WORD_S = 5


@dataclass(slots=True)
class _Held:
    """The lease as it stands in the store."""

    body: dict[str, Any]
    e_tag: str | None
    changed: float


class Lease:
    """Holds an output in an object store, or a shard of it; a context manager.

    Args:
        output: the dataset.
        shard: of it.
        lease_s: after so long without renewal others take it over.

    Raises:
        OutputHeldError: another holds it, or something that it shares items with.
        OSError: the store does not answer.
    """

    def __init__(self, output: BucketPath, shard: Shard | None = None, *, lease_s: float = LEASE_S) -> None:
        self._guarded = output.bucket
        own = Bucket(output.bucket.root, output.bucket.scratch)  # the guard is not asked for the lease itself
        self._output = BucketPath(own, output.key)
        self._shard = shard
        self._lease_s = lease_s
        self._path = _place(self._output, shard)
        self._body: dict[str, Any] = {}
        self._e_tag: str | None = None
        self._lost = False
        self._ended = threading.Event()
        self._one = threading.Lock()
        self._thread = threading.Thread(target=self._keep_renewing, name="lease", daemon=True)
        self._conditional = True

    def __enter__(self) -> Self:
        """Takes it without waiting."""
        found = _read(self._path)
        now, self._conditional = _probe(self._output)
        node = _node(self._output)
        if found is not None and self._is_anothers(found, now, node):
            raise self._refusal()
        recent = found.body.get("recent", []) if found is not None else []
        self._body = {"holder": secrets.token_hex(8), "node": node, "released": False, "beat": 0, "recent": recent}
        self._e_tag = None if found is None else found.e_tag
        if not self._put(is_new=found is None):
            raise self._refusal()
        try:
            self._refuse_beside_others(now, node)
        except BaseException:
            self._release()
            raise
        self._guarded.guard = self._before_put
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Lets go; what was put last stays named in it."""
        self._guarded.guard = None
        self._ended.set()
        self._thread.join(_LAST_WORD_S)
        self._release()

    def renew(self, part: str | None = None) -> None:
        """Says that the holder is alive, and names a part that it is about to put.

        Raises:
            OSError: the lease is another's, or the store does not answer.
        """
        with self._one:
            if self._lost:
                raise self._gone()
            if part is not None:
                self._body["recent"] = [*self._body["recent"], part][-_RECENT:]
            self._lost = not self._put()
            if self._lost:
                raise self._gone()

    def _put(self, *, is_new: bool = False) -> bool:
        """Writes the lease over the one that is ours, or where there is none; whether it is ours."""
        for _ in range(_TRIES):
            self._body["beat"] += 1
            mode: Any = "create" if is_new else {"e_tag": self._e_tag}
            try:
                content = json.dumps(self._body).encode()
                self._e_tag = self._path.write(content, mode=mode if self._conditional else "overwrite")
            except ConflictError:
                found = _read(self._path)
                if found is None or found.body.get("holder") != self._body["holder"]:
                    return False
                self._e_tag, is_new = found.e_tag, False  # it landed, and the answer was lost on its way
            else:
                return True
        return False

    def _before_put(self, key: str) -> None:
        self.renew(key.removeprefix(f"{self._output.key}/") if key.endswith(".parquet") else None)

    def _keep_renewing(self) -> None:
        while not self._ended.wait(self._lease_s / 3):
            try:
                self.renew()
            except OSError as error:
                logger.warning("%s: the lease could not be renewed: %s", self._output, error.strerror)
                if self._lost:
                    return

    def _release(self) -> None:
        """Best effort: a lease that is not let go runs out."""
        self._body["released"] = True
        try:
            if not self._lost:
                self._put()
        except OSError as error:
            logger.warning("%s: the lease could not be let go: %s", self._output, error.strerror)

    def _is_anothers(self, found: _Held, now: float, node: str) -> bool:
        is_alive = not found.body.get("released") and now - found.changed < self._lease_s + _GRAIN_S
        return is_alive and found.body.get("node") != node

    def _refuse_beside_others(self, now: float, node: str) -> None:
        """A run without a shard goes with no other, a shard with those of its N alone."""
        for shard, path in _leases(self._output):
            is_other = path != self._path and (self._shard is None or shard is None or shard.of != self._shard.of)
            found = _read(path) if is_other else None
            if found is not None and self._is_anothers(found, now, node):
                raise self._refusal(shard)

    def _refusal(self, other: Shard | None = None) -> OutputHeldError:
        which = f"shard {other or self._shard} of this output" if other or self._shard else "this output"
        return OutputHeldError(
            f"{self._output}: another machine holds {which}; wait for it (a machine that died lets go after "
            f"{self._lease_s:g} s), or choose another output.path"
        )

    def _gone(self) -> OSError:
        text = "another machine has taken it over, since this one did not renew its lease"
        return OSError(errno.EPERM, text, str(self._output))


def recent_parts(output: BucketPath) -> Iterator[str]:
    """Parts that were put last, as `results/part-...`, whether a listing names them yet or not."""
    for _, path in _leases(output):
        found = _read(path)
        yield from found.body.get("recent", []) if found is not None else ()


def _leases(output: BucketPath) -> Iterator[tuple[Shard | None, BucketPath]]:
    """Every lease of an output."""
    yield None, _place(output, None)
    for folder in sorted((output / "_state" / "shards").folders()):
        shard = Shard.of_folder(folder)
        if shard is not None:
            yield shard, _place(output, shard)


def _place(output: BucketPath, shard: Shard | None) -> BucketPath:
    state = output / "_state"
    return (state if shard is None else state / "shards" / shard.mark) / _NAME


def _read(path: BucketPath) -> _Held | None:
    """A lease, `None` where there is none; one that cannot be read says nothing but its age."""
    try:
        content, stat = path.read()
    except FileNotFoundError:
        return None
    try:
        body = json.loads(content)
    except ValueError:
        body = {}
    return _Held(body if isinstance(body, dict) else {}, stat.e_tag, stat.changed.timestamp())


def _probe(output: BucketPath) -> tuple[float, bool]:
    """The store's own time, and whether it has conditional writes."""
    path = output / "_state" / f"probe-{secrets.token_hex(8)}"
    path.write(b"")
    try:
        path.write(b" ", mode="create")
        conditional = False
        text = "%s: the store has no conditional writes; never start two machines on one output at the same moment"
        logger.warning(text, output)
    except ConflictError:
        conditional = True
    stat: ObjectStat | None = path.look()
    path.unlink(missing_ok=True)
    if stat is None:
        raise OSError(errno.EIO, "the store does not show what was just put there", str(path))
    return stat.changed.timestamp(), conditional


def _node(output: BucketPath) -> str:
    """The name of this machine for this output, made once."""
    path = made_folder(output.state, 0o700) / "node"
    if not path.exists():
        write_whole(path, secrets.token_hex(16).encode(), mode=0o600)
    return path.read_text("ascii")
