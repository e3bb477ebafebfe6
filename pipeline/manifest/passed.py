"""Which keys have passed: in bounded memory and a few microseconds a row, whatever the number of rows.

*Records* are appended to a file without a name, in order: key, digest of the images, place. As long as ids come in
ascending order, as most manifests have them, none can stand twice, and that is all.

From the first id that does not, the latest records are found by a dictionary of `fresh` keys, and the rest by a hash
table in another such file. When the dictionary is full, its keys go into the table, all at once and in the table's
order, so that the file is passed through once for many rows. The table has buckets of 64 bytes, each with up to five
entries, 8 bytes of the key and the number of its record; a full bucket goes on in the next one, and where the table is
70 % full, one of twice the size is filled from the records. Before the table is looked into, a filter of
`_FILTER_BYTES` is asked, which knows most keys that are not there. What 8 bytes say is checked with the record, so two
keys that share them are told apart.

The operating system's page cache holds what of the files is hot. A database would sort the keys, which nobody asks
for; all keys in memory would be 200 bytes a row.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import islice
from operator import lt
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

__all__ = ["PassedRows"]

_BUCKET = 64
_ENTRY = 12
_MOST = 5
_PAGE = 1024
"""Buckets that are read and written together."""
_RECORD = 80
_PLACE = 56
_FIRST_BITS = 14
_BUFFER = 1 << 18
_CHUNK = 20_000
_FILTER_BYTES = 1 << 23
_FILTER_MASK = 8 * _FILTER_BYTES - 1


class PassedRows:
    """Rows that have passed, by key.

    Args:
        folder: of the files; they are made now, to find out whether they can be.
        fresh: so many are held in memory.

    Raises:
        OSError: the folder cannot be written, or has no room; so do all methods.
    """

    def __init__(self, folder: Path, fresh: int) -> None:
        self._folder = folder
        self._most = max(1, fresh)
        self._fresh: dict[bytes, int] = {}
        self._records = _unnamed(folder)
        self._unwritten = bytearray()
        self._count = 0
        self._last_id: str | None = ""
        self._filter = bytearray(_FILTER_BYTES)
        self._table = _Table(folder, _FIRST_BITS)

    def close(self) -> None:
        """Forgets everything."""
        self._records.close()
        self._table.close()

    def add_all(
        self, keys: Sequence[bytes], digests: Sequence[bytes], places: Sequence[str], ids: Sequence[str] | None = None
    ) -> Iterator[tuple[int, bool | str]]:
        """By number those rows that have passed before; each with `True`, or where it has other images with a place.

        Args:
            keys: 16 bytes each.
            digests: of their images, 16 bytes each.
            places: where they stand; of a long one the end is kept.
            ids: that the keys are of, where they are known.
        """
        if self._last_id is not None:
            if ids and self._last_id < ids[0] and all(map(lt, ids, islice(ids, 1, None))):
                self._last_id = ids[-1]
                self._append(map(_record_of, keys, digests, places), len(keys))
                return
            self._last_id = None
            self._enter_all()
        for at, (key, digest, place) in enumerate(zip(keys, digests, places, strict=True)):
            first = self._found_or_added(key, digest, place)
            if first is None:
                continue
            twin = blake2b(key + digest, digest_size=16).digest()
            if first[16:24] == digest[:8] or self._found_or_added(twin, digest, place) is not None:
                yield at, True
            else:
                yield at, first[24:].rstrip(b"\0").decode("utf-8", "replace")

    def _found_or_added(self, key: bytes, digest: bytes, place: str) -> bytes | None:
        """The record of a key, `None` where there was none and it is added."""
        number = self._fresh.setdefault(key, self._count)
        if number != self._count:
            return self._record(number)
        tag = int.from_bytes(key[:8])
        one, two = tag & _FILTER_MASK, tag >> 30 & _FILTER_MASK
        if self._filter[one >> 3] >> (one & 7) & self._filter[two >> 3] >> (two & 7) & 1:
            for old in self._table.numbers(key[8:]):
                record = self._record(old)
                if record[:16] == key:
                    del self._fresh[key]
                    return record
        self._append([_record_of(key, digest, place)], 1)
        if len(self._fresh) >= self._most:
            self._settle()
        return None

    def _append(self, records: Iterable[bytes], count: int) -> None:
        self._unwritten += b"".join(records)
        self._count += count
        if len(self._unwritten) >= _BUFFER:
            self._flush()

    def _flush(self) -> None:
        self._records.write(self._unwritten)
        self._records.flush()
        self._unwritten.clear()

    def _record(self, number: int) -> bytes:
        start = number * _RECORD
        unwritten = start - (self._count * _RECORD - len(self._unwritten))
        if unwritten >= 0:
            return bytes(self._unwritten[unwritten : unwritten + _RECORD])
        return os.pread(self._records.fileno(), _RECORD, start)

    def _settle(self) -> None:
        """What is fresh goes into the table."""
        entries = [(key[8:], number) for key, number in self._fresh.items()]
        self._mark(self._fresh)
        self._fresh.clear()
        if self._table.holds(self._count):
            self._table.enter(entries)
        else:
            self._enter_all()

    def _enter_all(self) -> None:
        """All records go into a table that has room for them and as many more."""
        self._flush()
        bits = self._table.bits
        while not _Table.has_room(bits, 2 * self._count):
            bits += 1
        self._table.close()
        self._table = _Table(self._folder, bits)
        for first in range(0, self._count, _CHUNK):
            block = os.pread(self._records.fileno(), _CHUNK * _RECORD, first * _RECORD)
            starts = range(0, len(block), _RECORD)
            self._mark(block[start : start + 8] for start in starts)
            self._table.enter([(block[start + 8 : start + 16], first + at) for at, start in enumerate(starts)])

    def _mark(self, keys: Iterable[bytes]) -> None:
        """Tells the filter of keys."""
        known = self._filter
        for key in keys:
            tag = int.from_bytes(key[:8])
            one, two = tag & _FILTER_MASK, tag >> 30 & _FILTER_MASK
            known[one >> 3] |= 1 << (one & 7)
            known[two >> 3] |= 1 << (two & 7)


class _Table:
    """Numbers by 8 bytes, on disk."""

    def __init__(self, folder: Path, bits: int) -> None:
        self.bits = bits
        self._mask = (1 << bits) - 1
        self._file = _unnamed(folder)
        os.ftruncate(self._file.fileno(), _BUCKET << bits)

    def close(self) -> None:
        """Forgets everything."""
        self._file.close()

    @staticmethod
    def has_room(bits: int, entries: int) -> bool:
        """Whether a table of this size takes so many."""
        return entries * 10 <= (_MOST << bits) * 7

    def holds(self, entries: int) -> bool:
        """Whether so many have room."""
        return self.has_room(self.bits, entries)

    def numbers(self, tag: bytes) -> Iterator[int]:
        """The numbers that were entered under these bytes."""
        handle, at = self._file.fileno(), int.from_bytes(tag) & self._mask
        while True:
            bucket = os.pread(handle, _BUCKET, at * _BUCKET)
            end = bucket[-1] * _ENTRY
            found = bucket.find(tag, 0, end)
            while found >= 0:
                if found % _ENTRY == 0:
                    yield int.from_bytes(bucket[found + 8 : found + _ENTRY])
                found = bucket.find(tag, found + 1, end)
            if bucket[-1] < _MOST:
                return
            at = (at + 1) & self._mask

    def enter(self, entries: list[tuple[bytes, int]]) -> None:
        """Adds entries; there is room for them."""
        mask, handle = self._mask, self._file.fileno()
        placed = sorted((int.from_bytes(tag) & mask, tag, number) for tag, number in entries)
        page, block = -1, bytearray()
        for wanted, tag, number in placed:
            at = wanted
            while True:
                if at // _PAGE != page:
                    if page >= 0:
                        os.pwrite(handle, block, page * _PAGE * _BUCKET)
                    page = at // _PAGE
                    block = bytearray(os.pread(handle, _PAGE * _BUCKET, page * _PAGE * _BUCKET))
                start = at % _PAGE * _BUCKET
                taken = block[start + _BUCKET - 1]
                if taken < _MOST:
                    break
                at = (at + 1) & mask
            entry = start + taken * _ENTRY
            block[entry : entry + _ENTRY] = tag + number.to_bytes(4)
            block[start + _BUCKET - 1] = taken + 1
        if page >= 0:
            os.pwrite(handle, block, page * _PAGE * _BUCKET)


def _record_of(key: bytes, digest: bytes, place: str) -> bytes:
    return key + digest[:8] + place.encode("utf-8", "surrogatepass")[-_PLACE:].ljust(_PLACE, b"\0")


def _unnamed(folder: Path) -> IO[bytes]:
    return TemporaryFile(dir=folder)
