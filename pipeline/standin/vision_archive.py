"""Tensors out of PyTorch's older archive, a run of pickles with raw numbers behind them, without PyTorch.

A pickle can call anything that it names, and ask for any amount of memory. So its steps are first gone through without
being taken, and must be those that weights need; then nothing is looked up in modules: `_Reading.find_class` knows a
few names and answers each with a stand-in of its own. The archive's order: a magic number, a version, sizes of C types,
the state (tensors as views of numbered storages), the storages' numbers, then each storage as its count and its values.
"""

import pickle
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from itertools import accumulate
from math import prod
from pickletools import genops
from typing import Any, BinaryIO, TypeGuard

import numpy as np
from numpy.typing import NDArray

__all__ = ["ArchiveError", "Weights", "read_archive"]

Weights = dict[str, NDArray[np.float32]]
"""Arrays by their names in the state."""

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_KINDS: dict[str, np.dtype[Any]] = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}
_MOST_TENSORS = 10_000
_MOST_SIDES = 4
_MOST_NOTES = 100_000
"""The unpickler makes room for as many notes as the highest number among them says."""
_STEPS = frozenset(
    {"PROTO", "STOP", "MARK", "GLOBAL", "REDUCE", "BUILD", "BINPERSID"}
    | {"NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE"}
    | {"EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "APPEND", "APPENDS"}
    | {"EMPTY_DICT", "SETITEM", "SETITEMS", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"}
)
_COUNT = np.dtype("<i8")


class ArchiveError(ValueError):
    """The archive is not one of these, or holds what no weights need."""


@dataclass(frozen=True, slots=True)
class _Storage:
    """A storage as the pickle names it: its number, what it holds, how many of it."""

    key: str
    dtype: np.dtype[Any]
    count: int


@dataclass(frozen=True, slots=True)
class _View:
    """A tensor: where it begins in a storage, its shape, and how far its neighbours stand apart in each direction."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_archive(raw: bytes) -> Weights:
    """The float tensors of an archive, as arrays that share its memory.

    Raises:
        ArchiveError: it is broken, names what is not allowed, or points outside itself.
    """
    stream = BytesIO(raw)
    if (_pickled(stream), _pickled(stream)) != (_MAGIC, _VERSION):
        raise ArchiveError("no archive of version 1001")
    sizes, state, keys = _pickled(stream), _pickled(stream), _pickled(stream)
    if not isinstance(sizes, dict) or sizes.get("little_endian") is not True:
        raise ArchiveError("its numbers are not little-endian")
    if not isinstance(state, OrderedDict) or len(state) > _MOST_TENSORS:
        raise ArchiveError(f"its state is no mapping of at most {_MOST_TENSORS} tensors")
    if not all(isinstance(name, str) and isinstance(view, _View) for name, view in state.items()):
        raise ArchiveError("its state holds something else than tensors by name")
    known = {view.storage.key: view.storage for view in state.values()}
    if any(view.storage != known[view.storage.key] for view in state.values()):
        raise ArchiveError("a storage is described in two ways")
    storages = _storages(raw, stream.tell(), keys, known)
    floats = {name: view for name, view in state.items() if view.storage.dtype == np.float32}
    return {name: _array(name, view, storages[view.storage.key]) for name, view in floats.items()}


def _pickled(stream: BinaryIO) -> Any:
    try:
        _check_steps(stream)
        return _Reading(stream).load()
    except ArchiveError:
        raise
    except Exception as error:
        # a broken pickle raises whatever the step raises that it breaks
        raise ArchiveError(f"a pickle in it is broken: {type(error).__name__}") from error


def _check_steps(stream: BinaryIO) -> None:
    """Goes through the next pickle, and back to its start."""
    start = stream.tell()
    for step, value, _ in genops(stream):
        if step.name not in _STEPS:
            raise ArchiveError(f"a pickle in it takes the step {step.name}, which no weights need")
        if step.name in ("BINPUT", "LONG_BINPUT") and int(value or 0) > _MOST_NOTES:
            raise ArchiveError(f"a pickle in it takes more than {_MOST_NOTES} notes")
    stream.seek(start)


class _Reading(pickle.Unpickler):
    """An unpickler that builds tensors, ordered mappings and plain values, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """One of the three names that weights need.

        Raises:
            ArchiveError: any other.
        """
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuilt
        if module == "torch" and name in _KINDS:
            return name
        raise ArchiveError(f"it names {module[:60]}.{name[:60]}, which no weights need")

    def persistent_load(self, pid: Any) -> _Storage:
        """A storage.

        Raises:
            ArchiveError: it is something else, or a part of another storage.
        """
        if not isinstance(pid, tuple) or len(pid) != 6:
            raise ArchiveError("a storage is described in an unknown way")
        kind, dtype, key, _, count, view = pid
        found = _KINDS.get(dtype) if isinstance(dtype, str) else None
        if kind != "storage" or found is None or not isinstance(key, str) or view is not None:
            raise ArchiveError("a storage is described in an unknown way")
        if not _is_count(count):
            raise ArchiveError(f"storage {key[:20]} has no size")
        return _Storage(key, found, count)


def _rebuilt(storage: object, offset: object, shape: object, strides: object, *_rest: object) -> _View:
    """What the archive calls to make a tensor: here, its place alone."""
    if not isinstance(storage, _Storage) or not _are_counts(shape) or not _are_counts(strides):
        raise ArchiveError("a tensor is described in an unknown way")
    if not _is_count(offset) or len(shape) != len(strides):
        raise ArchiveError("a tensor is described in an unknown way")
    last = offset + sum((length - 1) * step for length, step in zip(shape, strides, strict=True))
    if 0 in shape or prod(shape) > storage.count or last >= storage.count:
        raise ArchiveError("a tensor reaches beyond its storage")
    return _View(storage, offset, shape, strides)


def _storages(raw: bytes, start: int, keys: object, known: Mapping[str, _Storage]) -> dict[str, NDArray[Any]]:
    """The storages, whose order the archive gives, one behind the other from `start`."""
    if not isinstance(keys, list) or len(set(map(str, keys))) != len(keys) or set(map(str, keys)) != set(known):
        raise ArchiveError("its storages are not those that its tensors name")
    listed = [known[str(key)] for key in keys]
    lengths = [_COUNT.itemsize + each.count * each.dtype.itemsize for each in listed]
    places = list(accumulate(lengths, initial=start))
    if places[-1] > len(raw):
        raise ArchiveError(f"it is cut short: {len(raw)} bytes of {places[-1]}")
    for each, place in zip(listed, places, strict=False):
        if int(np.frombuffer(raw, _COUNT, 1, place)[0]) != each.count:
            raise ArchiveError(f"storage {each.key[:20]} is not as long as it says")
    return {
        each.key: np.frombuffer(raw, each.dtype, each.count, place + _COUNT.itemsize)
        for each, place in zip(listed, places, strict=False)
    }


def _array(name: str, view: _View, storage: NDArray[np.float32]) -> NDArray[np.float32]:
    """The view as an array; numpy checks once more that it stays inside the storage."""
    size = storage.itemsize
    steps = [size * step for step in view.strides]
    array = np.ndarray(view.shape, storage.dtype, storage.data, size * view.offset, steps)
    if not np.isfinite(array).all():
        raise ArchiveError(f"{name[:60]} holds a number that is none")
    return array


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < 2**40


def _are_counts(value: object) -> TypeGuard[tuple[int, ...]]:
    return isinstance(value, tuple) and len(value) <= _MOST_SIDES and all(map(_is_count, value))
