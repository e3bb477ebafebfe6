"""Archives of weights: what is in them comes out, and nothing else ever happens."""

import os
import pickle
from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.standin.vision_archive import ArchiveError, read_archive

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001


@dataclass(frozen=True)
class Tensor:
    """A tensor as an archive describes it."""

    values: tuple[float, ...] = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
    shape: tuple[int, ...] = (2, 3)
    strides: tuple[int, ...] = (3, 1)
    offset: int = 0
    count: int | None = None
    kind: bytes = b"ctorch\nFloatStorage\n"
    build: bytes = b"ctorch._utils\n_rebuild_tensor_v2\n"

    def pickled(self, key: str) -> bytes:
        """The steps that make it."""
        count = len(self.values) if self.count is None else self.count
        pid = b"(" + plain("storage") + self.kind + plain(key) + plain("cpu") + plain(count) + b"NtQ"
        place = plain(self.offset) + plain(self.shape) + plain(self.strides)
        return self.build + b"(" + pid + place + b"\x89ccollections\nOrderedDict\n)RtR"


def plain(value: object) -> bytes:
    """The steps that make a plain value; without notes."""
    whole = pickle.dumps(value, 2)[2:-1]
    if isinstance(value, tuple):
        return b"(" + b"".join(plain(each) for each in value) + b"t"
    return whole.partition(b"q\x00")[0] if isinstance(value, str) else whole


def archive(*tensors: Tensor, keys: list[Any] | None = None, state: bytes | None = None) -> bytes:
    """An archive of tensors that are named a, b, c."""
    items = b"".join(plain("abc"[at]) + each.pickled(str(at)) for at, each in enumerate(tensors))
    parts = [pickle.dumps(value, 2) for value in (MAGIC, VERSION, {"little_endian": True})]
    parts.append(b"\x80\x02" + (state or b"ccollections\nOrderedDict\n)R(" + items + b"u") + b".")
    parts.append(pickle.dumps([str(at) for at in range(len(tensors))] if keys is None else keys, 2))
    for each in tensors:
        dtype = "<i8" if b"Long" in each.kind else "<f4"
        parts.append(np.int64(len(each.values)).tobytes() + np.array(each.values, dtype).tobytes())
    return b"".join(parts)


GOOD = archive(Tensor(), Tensor((7.0,), (), ()), Tensor((8.0,), (), (), kind=b"ctorch\nLongStorage\n"))


def test_the_float_tensors_come_out_by_name() -> None:
    """With their shapes and values; counters are left out."""
    found = read_archive(GOOD)
    assert {name: array.tolist() for name, array in found.items()} == {
        "a": [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]],
        "b": 7.0,
    }


@settings(max_examples=40, deadline=None)
@given(
    sides=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    order=st.integers(0, 23),
    offset=st.integers(0, 5),
)
def test_a_transposed_tensor_is_read_as_it_was_laid_down(sides: list[int], order: int, offset: int) -> None:
    """Strides and offsets of any layout give the array that numpy gives for them."""
    axes = list(permutations(range(len(sides))))[order % len(list(permutations(range(len(sides)))))]
    laid = np.arange(offset + int(np.prod(sides)), dtype=np.float32)
    expected = laid[offset:].reshape(sides).transpose(axes)
    strides = tuple(step // 4 for step in expected.strides)
    tensor = Tensor(tuple(map(float, laid)), expected.shape, strides, offset)
    assert np.array_equal(read_archive(archive(tensor))["a"], expected)


def test_a_call_in_a_pickle_is_never_made(tmp_path: Path) -> None:
    """A name that no weights need ends the reading before anything is called."""
    mark = tmp_path / "mark"

    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(mark),)

    with pytest.raises(ArchiveError, match=r"names (posix|nt)\.mkdir"):
        read_archive(archive(state=pickle.dumps(Evil(), 2)[2:-1]))
    assert not mark.exists()


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        pytest.param(b"cbuiltins\neval\n", "names builtins.eval", id="builtin"),
        pytest.param(b"ctorch\nload\n", "names torch.load", id="other name of a known module"),
        pytest.param(b"cos\nsystem\nX\x02\x00\x00\x00ls\x85R", "names os.system", id="call"),
        pytest.param(b"}r\xff\xff\xff\x7f", "notes", id="notes that fill the memory"),
        pytest.param(b"\x96\xff\xff\xff\xff\xff\xff\xff\x00", "broken|BYTEARRAY8", id="bytes that fill the memory"),
        pytest.param(b"\x82\x01", "the step EXT1", id="registered extension"),
        pytest.param(b"}", "no mapping", id="plain dictionary"),
        pytest.param(b"ccollections\nOrderedDict\n)R(" + plain("a") + plain(1) + b"u", "else than tensors", id="value"),
        pytest.param(b"ctorch\nFloatStorage\n)R", "broken", id="call of a kind"),
        pytest.param(plain(("storage", "x")) + b"Q", "unknown way", id="storage cut short"),
        pytest.param(b"t", "broken", id="nothing to gather"),
    ],
)
def test_what_no_weights_need_is_refused(state: bytes, reason: str) -> None:
    """Each is an error that names it."""
    with pytest.raises(ArchiveError, match=reason):
        read_archive(archive(state=state))


@pytest.mark.parametrize(
    "tensor",
    [
        Tensor(offset=1),
        Tensor(shape=(2, 4), strides=(4, 1)),
        Tensor(strides=(4, 1)),
        Tensor(shape=(1 << 30, 1 << 30), strides=(0, 0)),
        Tensor(shape=(0, 3), offset=1 << 35),
        Tensor(offset=-1),
        Tensor(shape=(2,)),
        Tensor(shape=(1, 1, 1, 1, 6), strides=(1, 1, 1, 1, 1)),
        Tensor(count=7),
        Tensor(count=1 << 39, offset=1 << 38),
        Tensor(values=(float("nan"),), shape=(1,), strides=(1,)),
        Tensor(kind=b"cos\nsystem\n"),
        Tensor(build=b"ccollections\nOrderedDict\n"),
    ],
    ids=str,
)
def test_a_tensor_outside_its_storage_is_refused(tensor: Tensor) -> None:
    """Nothing is read that the archive does not hold, however the tensor lies."""
    with pytest.raises(ArchiveError):
        read_archive(archive(tensor))


def test_a_storage_has_one_description() -> None:
    """Two tensors may share one, but not say different things of it."""
    two = plain("a") + Tensor().pickled("0") + plain("b") + replace(Tensor(), count=9).pickled("0")
    with pytest.raises(ArchiveError, match="two ways"):
        read_archive(archive(state=b"ccollections\nOrderedDict\n)R(" + two + b"u", keys=["0"]))


@pytest.mark.parametrize("keys", [[], ["0", "0"], ["1"], [["0"]], 5], ids=str)
def test_the_storages_are_those_that_are_named(keys: Any) -> None:
    """Else none could be found."""
    with pytest.raises(ArchiveError, match="not those"):
        read_archive(archive(Tensor(), keys=keys))


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damage_is_an_error_or_other_numbers(data: st.DataObject) -> None:
    """Wherever bytes are changed or cut, an `ArchiveError` comes, or finite arrays do."""
    at = data.draw(st.integers(0, len(GOOD) - 1))
    if data.draw(st.booleans()):
        raw = GOOD[:at]
    else:
        raw = GOOD[:at] + data.draw(st.binary(min_size=1, max_size=4)) + GOOD[at + data.draw(st.integers(0, 4)) :]
    try:
        found = read_archive(raw)
    except ArchiveError:
        return
    assert all(np.isfinite(array).all() for array in found.values())
