"""Parts made of other parts: whoever reads finds the same rows before and after, or nothing has changed."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.store.parts import is_whole, list_parts, stamp_of, write_part
from pipeline.store.rewriting import rewrite
from pipeline.store.schema import Kind, part_schema
from pipeline.store.tables import read_table

WHOLE = st.integers(-3, 3) | st.sampled_from([2**53 + 1, 2**60 + 1])
FIELDS: dict[str, tuple[pa.DataType, Any]] = {
    "whole": (pa.int64(), WHOLE),
    "short": (pa.int32(), st.integers(-3, 3)),
    "share": (pa.float64(), st.sampled_from([0.5, -2.0, 1e300])),
    "text": (pa.string(), st.text(st.characters(exclude_categories=["Cs"]), max_size=3)),
    "flag": (pa.bool_(), st.booleans()),
    "many": (pa.list_(pa.int64()), st.lists(WHOLE, max_size=2)),
}


@st.composite
def tables(draw: st.DrawFn) -> list[pa.Table]:
    """Parts of results, none empty, that have a manifest, data and thumbnails of other types in each, or none."""
    found = []
    for number in range(draw(st.integers(1, 4))):
        types, values = {}, {}
        for column in ("manifest", "data"):
            chosen = draw(st.dictionaries(st.sampled_from("ab"), st.sampled_from(sorted(FIELDS)), max_size=2))
            if chosen:
                types[column] = pa.struct([(name, FIELDS[kind][0]) for name, kind in chosen.items()])
                fields = {name: st.none() | FIELDS[kind][1] for name, kind in chosen.items()}
                values[column] = st.none() | st.fixed_dictionaries(fields)
        names = [f"p{number}-{row}" for row in range(draw(st.integers(1, 4)))]
        rows = [{column: draw(each) for column, each in values.items()} for _ in names]
        found.append(part_of(names, *rows, thumbnail=draw(st.booleans()), **types))
    return found


def part_of(names: Sequence[str], *rows: dict[str, Any], thumbnail: bool = False, **types: Any) -> pa.Table:
    """Rows of results for these items, with some of their columns."""
    more = rows or [{}] * len(names)
    told = [
        {"item_id": name, "fingerprint": "f1", "caption": f"of {name}", **each}
        for name, each in zip(names, more, strict=True)
    ]
    return pa.Table.from_pylist(told, schema=part_schema(Kind.RESULTS, thumbnail=thumbnail, **types))


def written(output: Path, *parts: pa.Table) -> list[Path]:
    """These parts in a dataset's folder."""
    paths = [output / "results" / f"part-{number}.parquet" for number in range(len(parts))]
    for path, table in zip(paths, parts, strict=True):
        write_part(path, table.schema, [table], "none")
    return paths


def ids(path: Path) -> list[str]:
    """The items of a part's rows, in order."""
    found: list[str] = pq.ParquetFile(path).read(["item_id"])["item_id"].to_pylist()
    return found


@settings(max_examples=25, deadline=None)
@given(tables())
def test_readers_find_the_same_rows_in_one_part(parts: list[pa.Table]) -> None:
    """Order, values and types, whatever the columns that each manifest brought: exact numbers are not rounded."""
    with TemporaryDirectory() as folder:
        paths = written(Path(folder), *parts)
        before = read_table(Path(folder), Kind.RESULTS, None)
        rewrite(paths[0], Kind.RESULTS, paths, "zstd")
        for path in paths[1:]:
            path.unlink()
        after = read_table(Path(folder), Kind.RESULTS, None)
        assert after.to_pylist() == before.to_pylist()
        assert is_whole(paths[0])


@settings(max_examples=15, deadline=None)
@given(tables(), tables(), st.sets(st.integers(0, 3)))
def test_some_rows_go_and_others_come(parts: list[pa.Table], added: list[pa.Table], gone: set[int]) -> None:
    """What stays keeps its order, and the new rows stand behind it."""

    def stays(batch: pa.RecordBatch) -> list[bool]:
        return [int(name[-1]) not in gone for name in batch["item_id"].to_pylist()]

    with TemporaryDirectory() as folder:
        paths = written(Path(folder), *parts)
        expected = [name for path in paths for name in ids(path) if int(name[-1]) not in gone]
        expected += [name for table in added for name in table["item_id"].to_pylist()]
        target = Path(folder) / "results" / "part-new.parquet"
        rewrite(target, Kind.RESULTS, paths, "zstd", stays=stays, added=added)
        assert ids(target) == expected


def test_row_groups_are_bounded_however_many_parts_there_are(tmp_path: Path) -> None:
    """Many small parts make few groups, and a large one is not held in memory whole."""
    sizes = [3000, 3000, 9000, *[1] * 20]
    paths = written(tmp_path, *(part_of([f"p{number}-{row}" for row in range(n)]) for number, n in enumerate(sizes)))
    expected = [name for path in paths for name in ids(path)]
    target = tmp_path / "new.parquet"
    stamp = rewrite(target, Kind.RESULTS, paths, "zstd")
    metadata = pq.read_metadata(target)
    groups = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    assert (ids(target), stamp) == (expected, stamp_of(target))
    assert max(groups) < 2 * 4096
    assert len(groups) <= 5


def test_a_number_that_only_a_late_part_holds_decides_for_all(tmp_path: Path) -> None:
    """One that the wider type cannot hold: the field becomes text in every row group, as readers would have it."""
    shares = part_of(
        ["a"], {"manifest": {"n": 0.5, "k": 1}}, manifest=pa.struct([("n", pa.float64()), ("k", pa.int64())])
    )
    whole = pa.struct([("n", pa.int64())])
    names = [f"b{row}" for row in range(5000)]
    small = part_of(names, *[{"manifest": {"n": 3}}] * len(names), manifest=whole)
    large = part_of(["c"], {"manifest": {"n": 2**60 + 1}}, manifest=whole)
    paths = written(tmp_path, shares, small, large)
    before = read_table(tmp_path, Kind.RESULTS, None)
    rewrite(paths[0], Kind.RESULTS, paths, "zstd")
    for path in paths[1:]:
        path.unlink()
    after = read_table(tmp_path, Kind.RESULTS, None)
    assert after.equals(before)
    assert after["manifest"][-1].as_py() == {"n": str(2**60 + 1), "k": None}


def test_no_rows_at_all_make_an_empty_part_of_the_same_columns(tmp_path: Path) -> None:
    """The part is whole, and its table still tells what it has."""
    [path] = written(tmp_path, part_of(["a", "b"], manifest=pa.struct([("n", pa.int64())])))
    before = pq.read_schema(path)
    rewrite(path, Kind.RESULTS, [path], "zstd", stays=lambda batch: [False] * len(batch))
    assert (ids(path), pq.read_schema(path)) == ([], before)


def damaged(path: Path) -> None:
    """A byte of a page is another."""
    raw = bytearray(path.read_bytes())
    raw[20] ^= 0xFF
    path.write_bytes(raw)


def torn(path: Path) -> None:
    """The footer is gone."""
    path.write_bytes(path.read_bytes()[:-9])


def foreign(path: Path) -> None:
    """A column is of a type that no result has."""
    table = pa.table({"item_id": ["a"], "fingerprint": ["f"], "caption": [[1]]})
    write_part(path, table.schema, [table], "none")


@pytest.mark.parametrize("spoil", [damaged, torn, foreign, Path.unlink])
@pytest.mark.parametrize("spoilt", [0, 1])
def test_what_cannot_be_read_is_never_rewritten(tmp_path: Path, spoil: Any, spoilt: int) -> None:
    """The parts are as they were, the target too, and nothing is left beside them."""
    paths = written(tmp_path, part_of(["a", "b"]), part_of(["c"]))
    spoil(paths[spoilt])
    before = {path.name: path.read_bytes() for path in list_parts(tmp_path, Kind.RESULTS)}
    with pytest.raises((OSError, pa.ArrowException)):
        rewrite(paths[0], Kind.RESULTS, paths, "zstd")
    assert {path.name: path.read_bytes() for path in paths[0].parent.iterdir()} == before
