"""Shards of one output: what belongs to which, told from an item's id or a part's name. No I/O.

The rule
--------
Runs of `--shard 1/N` ... `--shard N/N` share an output at the same time without meeting, because nothing that one of
them writes is written by another:

- each has a folder of its own, `_state/shards/I-of-N/`, with its own lock and its own journal;
- its parts carry its mark, `part-RUN-I-of-N-00001.parquet`, and so do the temporary files beside them;
- each item id is in exactly one of the N, so that `(item_id, fingerprint)` is unique over all parts.

What was answered before, under another N or without shards, is known: a start reads the ids of the parts that it does
not know, and takes those of its own items into its index. A part whose mark says that it can hold none of them is not
even opened: I/N and J/M share items only where I and J are equal modulo the greatest common divisor of N and M.

Runs whose items overlap never go at once. `dataset` holds the locks that see to it: a run without a shard has the
output alone (75 for all others), shards hold it together, and a shard of another N is refused (75) while one of this N
runs. So a journal of another layout that is found at a start is no living run's. What it still holds is brought into
the dataset first (see `folding`): whatever covers the items of a killed shard finds its answers, whoever starts, and
with whatever N.

Not shared between shards that run at once: `output.reuse` (identical requests in two shards are two requests), and
the account's rate (`limits.share` divides it). `pipeline compact` and `--set output...` need the output alone.
"""

import re
from dataclasses import dataclass
from math import gcd

from pipeline.manifest.identity import in_shard

__all__ = ["Shard", "unmarked"]

_MARK = re.compile(r"-(\d{1,9})-of-(\d{1,9})(?=-\d{5,}\.parquet$)")
_FOLDER = re.compile(r"(\d{1,9})-of-(\d{1,9})")


@dataclass(frozen=True, slots=True)
class Shard:
    """The items that a stable hash of their ids puts into one of `of` shares, counted from 1."""

    index: int
    of: int

    @classmethod
    def of_part(cls, name: str) -> "Shard | None":
        """The shard whose items a part holds, `None` where it may hold any."""
        return cls._from(_MARK.search(name))

    @classmethod
    def of_folder(cls, name: str) -> "Shard | None":
        """The shard whose state a folder holds, `None` where it is no such folder."""
        return cls._from(_FOLDER.fullmatch(name))

    @classmethod
    def _from(cls, found: re.Match[str] | None) -> "Shard | None":
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            return None
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        """As the command line has it."""
        return f"{self.index}/{self.of}"

    @property
    def mark(self) -> str:
        """As names of files and folders have it."""
        return f"{self.index}-of-{self.of}"

    def holds(self, item_id: str) -> bool:
        """Whether an item belongs to it."""
        return in_shard(item_id, self.index, self.of)

    def meets(self, other: "Shard") -> bool:
        """Whether an item may belong to both."""
        return (self.index - other.index) % gcd(self.of, other.of) == 0

    def may_be_in(self, part: str) -> bool:
        """Whether a part of this name may hold an item of the shard."""
        other = Shard.of_part(part)
        return other is None or self.meets(other)


def unmarked(name: str) -> str:
    """A part's name without the mark of a shard."""
    return _MARK.sub("", name)
